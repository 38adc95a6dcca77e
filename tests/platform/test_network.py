"""This host's place on the network."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from sagemaker_object_detection.platform import network
from sagemaker_object_detection.platform.errors import PlatformError
from sagemaker_object_detection.platform.network import (
    HUB_PORT,
    PORTS,
    find_interface,
    free_ports,
    interface_address,
)

LOCAL = "127.0.0.1"


def test_the_address_of_an_interface() -> None:
    assert interface_address("lo") == LOCAL


@pytest.mark.parametrize("name", ["ib7", "a name that is far too long for an interface", ""])
def test_an_interface_that_is_not_there(name: str) -> None:
    with pytest.raises(PlatformError, match=r"has no IPv4 address \(.*\); there are .*lo") as told:
        interface_address(name)
    assert "network_interface_name" in str(told.value)


_HEADER = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"
_NETWORK = "eth0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0"
_HALF = "tun0 00000000 010011AC 0003 0 0 0 00000080 0 0 0"
_DEFAULT = "eth0 00000000 010011AC 0003 0 0 100 00000000 0 0 0"
_DEARER = "eth1 00000000 010012AC 0003 0 0 200 00000000 0 0 0"


@pytest.mark.parametrize(
    ("name", "routes", "found"),
    [
        pytest.param("lo", [_DEFAULT], "lo", id="the one that is named"),
        pytest.param("ethwe", [_NETWORK, _DEFAULT], "eth0", id="the default route's"),
        pytest.param("ethwe", [_DEARER, _DEFAULT], "eth0", id="of two the smaller metric"),
        pytest.param("ethwe", [_HALF, _DEARER], "eth1", id="half of all addresses is no default"),
        pytest.param("ethwe", [_NETWORK], "ethwe", id="no default route"),
    ],
)
def test_the_interface_between_the_hosts(
    name: str,
    routes: list[str],
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = tmp_path / "route"
    table.write_text("\n".join([_HEADER, *routes]) + "\n")
    monkeypatch.setattr(network, "_ROUTES", table)
    caplog.set_level(logging.INFO)
    assert find_interface(name) == found
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == (found != name)
    assert all(found in text and "ethwe" in text and "does not exist" in text for text in warned)


def test_the_routes_of_this_machine_can_be_read() -> None:
    assert find_interface("ethwe") in {"ethwe", *(name for _, name in socket.if_nameindex())}


def test_ports_are_of_the_range_and_free() -> None:
    first = free_ports(LOCAL, 3)
    assert len(set(first)) == 3
    assert HUB_PORT not in first
    assert set(first) <= set(PORTS)
    with socket.create_server((LOCAL, first[1])):
        again = free_ports(LOCAL, 3)
    assert first[1] not in again
    assert len(set(again)) == 3


def test_no_port_is_free() -> None:
    with ExitStack() as taken:
        for port in free_ports(LOCAL, 50):
            taken.enter_context(socket.create_server((LOCAL, port)))
        with pytest.raises(PlatformError, match=r"only \d+ are free and 90 are needed"):
            free_ports(LOCAL, 90)

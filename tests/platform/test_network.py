"""This host's place on the network."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from sagemaker_object_detection.platform.errors import PlatformError
from sagemaker_object_detection.platform.network import (
    HUB_PORT,
    PORTS,
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

"""What kvstore and Horovod are told in each process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.launch import (
    horovod_environment,
    shared_environment,
    start_kvstore,
)

HOSTS = ("algo-1", "algo-2")
FACTS: list[dict[str, Any]] = [
    {"address": "10.0.0.1", "ports": [29401, 29402, 29403]},
    {"address": "10.0.0.2", "ports": [29404, 29405, 29406]},
]


@dataclass
class Helpers:
    """Stands for the supervisor: the helpers that it was to start."""

    started: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def add_helper(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        assert command[-1] == "sagemaker_object_detection.training.kvstore_node"
        self.started[name] = environ


def _named(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {n.removeprefix(prefix): v for n, v in environ.items() if n.startswith(prefix)}


@pytest.mark.parametrize("rank", [0, 1])
def test_kvstore(rank: int) -> None:
    """One scheduler, on the first host; a server and a worker on each."""
    helpers = Helpers()
    supervisor: Any = helpers
    world = World("kvstore", HOSTS, 1, rank)
    worker = start_kvstore(supervisor, {"shared": "yes"}, world, FACTS)
    roles = {e["DMLC_ROLE"]: e.get("PORT") for e in (*helpers.started.values(), worker)}
    if rank == 0:
        assert roles == {"scheduler": None, "server": "29402", "worker": "29403"}
    else:
        assert roles == {"server": "29405", "worker": "29406"}
    for environ in (*helpers.started.values(), worker):
        assert environ["shared"] == "yes"
        assert _named({n: v for n, v in environ.items() if n != "DMLC_ROLE"}, "DMLC_") == {
            "PS_ROOT_URI": "10.0.0.1",
            "PS_ROOT_PORT": "29401",
            "NUM_WORKER": "2",
            "NUM_SERVER": "2",
            "NODE_HOST": FACTS[rank]["address"],
        }


@pytest.mark.parametrize(("host", "local_rank", "rank"), [(0, 0, 0), (0, 1, 1), (1, 0, 2)])
def test_horovod(host: int, local_rank: int, rank: int) -> None:
    world = World("horovod", HOSTS, 2, 2 * host)
    environ = _named(horovod_environment({}, world, FACTS, local_rank), "HOROVOD_")
    assert environ["HOSTNAME"] == HOSTS[host]
    numbers = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE")
    assert [int(environ[name]) for name in numbers] == [rank, 4, local_rank, 2, host, 2]
    assert environ["GLOO_RENDEZVOUS_ADDR"] == "10.0.0.1"
    assert environ["GLOO_RENDEZVOUS_PORT"] == "29401"


def test_processes_of_a_host_share_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """And everything listens on the interface of the job. A supervisor has no MXNet loaded."""
    monkeypatch.delitem(sys.modules, "mxnet", raising=False)
    threads = {}
    for local_size in (1, 2):
        world = World("horovod", HOSTS, local_size, 0)
        environ = shared_environment({"OMP_NUM_THREADS": ""}, world, "ib7")
        threads[local_size] = int(environ["OMP_NUM_THREADS"])
        interfaces = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "HOROVOD_GLOO_IFACE")
        assert {environ[name] for name in interfaces} == {"ib7"}
    assert threads[2] == max(1, threads[1] // 2)

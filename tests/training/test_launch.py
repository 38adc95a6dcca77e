"""What a supervisor needs before it starts its workers, and what each of these is told."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection import __version__
from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training import launch
from sagemaker_object_detection.training.launch import (
    horovod_environment,
    shared_environment,
    start_kvstore,
)
from tests.training.jobs import make_job
from tests.training.processes import InThreads, communicators, in_all, worlds

TWO = World("horovod", ("algo-1", "algo-2"), 1, 0)


def test_horovod_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    job = replace(make_job(tmp_path), hosts=TWO.hosts)
    with pytest.raises(ClientError, match="Horovod is not installed here"):
        launch.launch(job, TWO, {}, StopRequest())


def test_gpus_are_counted_by_mxnet() -> None:
    assert launch.count_gpus({}) == 0


def test_mxnet_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_PYTHON", ("/bin/false",))
    with pytest.raises(PlatformError, match="MXNet cannot be loaded"):
        launch.count_gpus({})


def test_an_only_host_has_nobody_to_tell() -> None:
    launch.tell_hosts((("algo-1",), "algo-1", "no interface"), ClientError("x"), {})


def test_hosts_that_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    launch.tell_hosts((("algo-1", "algo-2"), "algo-1", "ib7"), ClientError("x"), {})
    assert "The other hosts could not be told" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"seed": "3", "epochs": "1"}, {"seed": "0", "epochs": "1"}, "seed: '3', '0'"),
        ({"train": "a"}, {"train": "a", "test": "b"}, "test: None, 'b'"),
        ({"train": "a", "test": "b"}, {"train": "a"}, "test: 'b', None"),
        (1, 2, "1, 2"),
    ],
)
def test_in_what_two_hosts_differ(one: object, other: object, told: str) -> None:
    assert launch._difference(one, other) == told


@dataclass
class Group:
    """Stands for the hosts, of which the second one's facts are the first one's with a change."""

    name: str
    change: Any

    def gather(self, content: bytes) -> list[bytes]:
        facts = json.loads(content)
        return [content, json.dumps({**facts, self.name: self.change}).encode()]


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("version", "0.0.1", f"0.0.1, {__version__}"),
        ("processes", 8, "8, 1"),
        ("channels", {"train": "recordio ShardedByS3Key"}, "train: .*ShardedByS3Key', .*'"),
        ("hyperparameters", {}, "epochs: None, '30'"),
    ],
)
def test_hosts_that_do_not_have_the_same_job(
    name: str, change: Any, told: str, tmp_path: Path
) -> None:
    job = replace(make_job(tmp_path, ["train"]), hosts=TWO.hosts)
    group: Any = Group(name, change)
    with pytest.raises(ClientError) as error:
        launch._exchange(group, job, TWO, "127.0.0.1")
    told = rf"algo-2 and algo-1 do not have the same job: {name} differ \(.*{told}.*\)\. Give all"
    assert re.match(told, str(error.value))


def test_jobs_have_keys_of_their_own() -> None:
    environments = ({}, {"TRAINING_JOB_NAME": "a"}, {"TRAINING_JOB_ARN": "b"})
    keys = {launch._key(environ, hosts) for environ in environments for hosts in (("x",), ("y",))}
    assert len(keys) == 6


def test_what_hosts_tell_each_other(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / name, ["train"]) for name in ("first", "second")]

    def exchange(communicator: InThreads) -> list[str]:
        world = communicator.world
        anyone: Any = communicator
        address = f"127.0.0.{world.rank + 1}"
        facts = launch._exchange(anyone, jobs[world.rank], world, address)
        assert all(len(set(fact["ports"])) == 3 for fact in facts)
        return [fact["address"] for fact in facts]

    assert in_all(communicators(worlds(2)), exchange) == [["127.0.0.1", "127.0.0.2"]] * 2


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

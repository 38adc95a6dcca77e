"""How a job is spread over processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.world import World, cpu_devices, make_world
from tests.training.jobs import make_job


def _world(base: Path, hosts: int, devices: int, current: int = 0, **given: object) -> World:
    names = tuple(f"algo-{number + 1}" for number in range(hosts))
    job = make_job(base, **given)
    return make_world(replace(job, hosts=names, current_host=names[current]), devices)


@pytest.mark.parametrize(
    ("hosts", "devices", "given", "form"),
    [
        pytest.param(1, 1, {}, ("none", 1), id="one device"),
        pytest.param(1, 4, {}, ("none", 1), id="one process has all devices of a host"),
        pytest.param(2, 1, {}, ("kvstore", 2), id="hosts keep in step"),
        pytest.param(2, 1, {"kv_store": "dist_async"}, ("kvstore", 2), id="asked for otherwise"),
        pytest.param(2, 1, {"kv_store": "device"}, ("kvstore", 2), id="device"),
        pytest.param(1, 1, {"kv_store": "dist_async"}, ("none", 1), id="one host has no servers"),
        pytest.param(2, 1, {"distribution": "horovod"}, ("horovod", 2), id="horovod on hosts"),
        pytest.param(2, 4, {"distribution": "horovod"}, ("horovod", 8), id="one for each GPU"),
        pytest.param(1, 4, {"distribution": "horovod"}, ("horovod", 4), id="in one host too"),
        pytest.param(1, 1, {"distribution": "horovod"}, ("none", 1), id="nobody to talk to"),
        pytest.param(2, 1, {"distribution": "kvstore"}, ("kvstore", 2), id="kvstore as auto"),
    ],
)
def test_forms(
    hosts: int, devices: int, given: dict[str, object], form: tuple[object, ...], tmp_path: Path
) -> None:
    world = _world(tmp_path, hosts, devices, **given)
    assert (world.form, world.size) == form


@pytest.mark.parametrize(
    ("devices", "given", "told"),
    [
        pytest.param(
            1,
            {"gradient_compression": "float16"},
            "gradient_compression: float16 needs distribution=horovod",
            id="compression by kvstore",
        ),
        pytest.param(
            8,
            {"distribution": "horovod", "mini_batch_size": 4},
            "mini_batch_size is 4 and this machine has 8 GPUs",
            id="not an image for each GPU",
        ),
    ],
)
def test_what_does_not_fit(
    devices: int, given: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ClientError, match=told):
        _world(tmp_path, 2, devices, **given)


def test_ranks(tmp_path: Path) -> None:
    world = _world(tmp_path, 3, 4, current=2, distribution="horovod")
    assert (world.rank, world.local_rank, world.host_rank) == (8, 0, 2)
    last = replace(world, rank=11)
    assert (last.local_rank, last.host_rank, last.is_main) == (3, 2, False)
    assert str(last) == "rank 11 on algo-3"
    assert world.name_of_host(1) == "ranks 4 to 7 on algo-2"
    assert World.from_json(last.as_json()) == last


def test_contexts_that_stand_for_devices() -> None:
    assert cpu_devices({}) == 1
    assert cpu_devices({"OBJECT_DETECTION_CPU_DEVICES": "3"}) == 3

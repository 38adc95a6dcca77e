"""What the images are locked to: every file by its hash, and one version of each package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.driver import FOR_CARDS

CONTAINER = Path(__file__).resolve().parents[2] / "container"
LOCKS = sorted(CONTAINER.glob("requirements-*.txt"))
_PINNED = re.compile(r"([a-z0-9][a-z0-9._-]*)==(\S+)")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
DEVICES = {"mxnet", *FOR_CARDS}
HOROVOD = {"cloudpickle", "psutil"}


def _requirements(lock: Path) -> list[str]:
    """Requirements with their hashes, a line each."""
    text = lock.read_text().replace("\\\n", " ")
    return [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


def _versions(name: str) -> dict[str, str]:
    found = (_PINNED.match(line) for line in _requirements(CONTAINER / f"requirements-{name}.txt"))
    return {match[1]: match[2] for match in found if match}


def test_there_are_locks() -> None:
    assert {lock.name for lock in LOCKS} >= {
        f"requirements-{name}.txt" for name in ("cpu", "gpu", "kepler", "dev", "horovod", "sbom")
    }


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_everything_has_one_version_and_hashes(lock: Path) -> None:
    requirements = _requirements(lock)
    assert requirements
    loose = [line for line in requirements if not (_PINNED.match(line) and _HASH.search(line))]
    assert loose == []
    names = [line.split("==")[0] for line in requirements]
    assert len(names) == len(set(names))


def _shared(device: str) -> dict[str, str]:
    """What has nothing to do with the device."""
    return {
        name: version
        for name, version in _versions(device).items()
        if name not in DEVICES and not name.startswith("nvidia-")
    }


def test_all_images_have_the_same_but_for_mxnet_and_cuda() -> None:
    assert _versions("cpu")["mxnet"] == _versions("gpu")["mxnet-cu112"] == "1.9.1"
    assert _versions("kepler")["mxnet-cu102"] == "1.9.1"
    assert _shared("gpu") == _shared("cpu")
    without_horovod = {n: v for n, v in _shared("cpu").items() if n not in HOROVOD}
    assert _shared("kepler") == without_horovod


def test_what_is_tested_is_what_the_image_has() -> None:
    cpu, dev = _versions("cpu"), _versions("dev")
    assert {name: dev.get(name) for name in cpu} == cpu


def test_all_of_cuda_is_of_one_major_version() -> None:
    """Their libraries carry it in their names, which libmxnet.so links."""
    nvidia = [name for name in _versions("gpu") if name.startswith("nvidia-")]
    assert len(nvidia) == 9
    assert all(name.endswith("-cu11") for name in nvidia)
    assert _versions("gpu")["nvidia-cudnn-cu11"].startswith("8.")


@pytest.mark.parametrize("name", ["opencv-python", "openvino-telemetry", "torch", "tensorflow"])
def test_what_must_not_come_in(name: str) -> None:
    assert name not in _versions("cpu")
    assert name not in _versions("gpu")

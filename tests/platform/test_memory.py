"""Freed memory goes back to the system; what can be taken, from drawn-up systems."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.memory import available, give_back

STATUS = Path("/proc/self/statm")


@pytest.mark.skipif(not STATUS.exists(), reason="Linux tells what is resident")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not the GNU C library")
def test_what_lies_below_memory_in_use_is_given_back() -> None:
    def resident() -> int:
        return int(STATUS.read_text().split()[1]) * mmap.PAGESIZE

    size = 2**16  # below what the library maps by itself
    blocks = [bytearray(b"x" * size) for _ in range(500)]
    held = resident()
    last = blocks[-1]
    del blocks
    give_back()
    assert held - resident() > 400 * size
    assert last[0] == ord("x")


def test_a_library_without_it_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    give_back()


CGROUP = "sys/fs/cgroup"
MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 4000 kB"}
V2 = {"proc/self/cgroup": "0::/box"}
V1 = {"proc/self/cgroup": "5:cpu:/box\n4:memory:/box"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, None, id="a system that does not tell"),
        pytest.param(MACHINE, 4_096_000, id="no control groups"),
        pytest.param(
            {**MACHINE, **V2, f"{CGROUP}/box/memory.max": "max"}, 4_096_000, id="no limit"
        ),
        pytest.param(
            {
                **MACHINE,
                **V2,
                f"{CGROUP}/box/memory.max": "3000000",
                f"{CGROUP}/box/memory.current": "2500000",
                f"{CGROUP}/box/memory.stat": "anon 2400000\ninactive_file 100000\nfile 7",
            },
            600_000,
            id="version 2; cached files can be dropped",
        ),
        pytest.param(
            {
                **MACHINE,
                **V2,
                f"{CGROUP}/box/memory.max": "3000000",
                f"{CGROUP}/box/memory.current": "1000000",
                f"{CGROUP}/memory.max": "9000000",
                f"{CGROUP}/memory.current": "8500000",
            },
            500_000,
            id="the group around it has less left",
        ),
        pytest.param(
            {
                **V1,
                f"{CGROUP}/memory/box/memory.limit_in_bytes": "3000000",
                f"{CGROUP}/memory/box/memory.usage_in_bytes": "2000000",
                f"{CGROUP}/memory/box/memory.stat": "inactive_file 5\ntotal_inactive_file 500000",
            },
            1_500_000,
            id="version 1",
        ),
        pytest.param(
            {**V2, f"{CGROUP}/memory.max": "300", f"{CGROUP}/memory.current": "400"},
            0,
            id="above the limit already; the group's own folder is not there",
        ),
    ],
)
def test_available(files: Mapping[str, str], expected: int | None, tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    assert available(tmp_path) == expected


@pytest.mark.skipif(not STATUS.exists(), reason="Linux tells what is resident")
def test_available_here() -> None:
    left = available()
    assert left is not None
    assert left > 2**20

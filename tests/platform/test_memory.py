"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.memory import give_back

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

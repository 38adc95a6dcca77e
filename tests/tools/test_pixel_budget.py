"""Never more pixels at a time than there may be, and everybody gets a turn."""

from __future__ import annotations

import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sagemaker_object_detection.images import header_size
from sagemaker_object_detection.tools.pixel_budget import PixelBudget

WAIT = 20


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG, which tells its size."""
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    assert header_size(data) == (width, height)
    return data


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        pytest.param(png(6, 10), png(4, 10), True, id="fit"),
        pytest.param(png(7, 10), png(4, 10), False, id="do not fit"),
        pytest.param(png(500, 500), png(1, 1), False, id="larger than all"),
        pytest.param(b"BM?", png(1, 1), False, id="of unknown size"),
    ],
)
def test_side_by_side(first: bytes, second: bytes, together: bool) -> None:
    budget = PixelBudget(100)
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with budget.for_picture(second):
            inside.set()
            go_on.wait(WAIT)

    with ThreadPoolExecutor(1) as pool:
        with budget.for_picture(first):
            task = pool.submit(hold)
            assert inside.wait(WAIT if together else 0.2) == together
        assert inside.wait(WAIT)
        go_on.set()
        task.result()


def test_many_threads() -> None:
    budget = PixelBudget(100)
    lock = threading.Lock()
    now = most = 0

    def work(width: int) -> None:
        nonlocal now, most
        with budget.for_picture(png(width, 10)):
            with lock:
                now += width * 10
                most = max(most, now)
            threading.Event().wait(0.001)
            with lock:
                now -= width * 10

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [1, 9, 10, 3, 3, 3, 7, 2] * 10))
    assert 0 < most <= 100


def test_an_error_gives_it_back() -> None:
    budget = PixelBudget(100)
    with pytest.raises(KeyError), budget.for_picture(png(10, 10)):
        raise KeyError
    with budget.for_picture(png(10, 10)):
        pass

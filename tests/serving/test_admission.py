"""Bounds on requests at work and on decoding."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from sagemaker_object_detection.serving.admission import LARGE_PIXELS, Admission
from sagemaker_object_detection.serving.batching import NotReady, Overloaded, TooSlow
from sagemaker_object_detection.serving.trace import Trace
from tests import tiny_model

SMALL = tiny_model.encoded(tiny_model.picture({}))
UNKNOWN = b"GIF89a"


def _large() -> bytes:
    side = int(LARGE_PIXELS**0.5) + 1
    return cv2.imencode(".png", np.zeros((side, side), np.uint8))[1].tobytes()


def test_one_more_than_most_is_refused_until_one_has_left() -> None:
    admission = Admission(most=2)
    with admission.admitted():
        second = admission.admitted()
        with second, pytest.raises(Overloaded, match="2 images"), admission.admitted():
            pass
        with admission.admitted():
            pass


def test_who_fails_leaves() -> None:
    admission = Admission(most=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), admission.admitted():
            raise ZeroDivisionError


class _Stuck:
    """A decoder that takes as long as the test likes."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self, data: bytes) -> bytes:
        self.begun.release()
        assert self.go.wait(10)
        return data


@pytest.fixture
def stuck() -> Iterator[_Stuck]:
    stuck = _Stuck()
    yield stuck
    stuck.go.set()


@pytest.mark.parametrize("picture", [_large(), UNKNOWN], ids=["large", "unknown"])
def test_large_pictures_go_one_at_a_time_and_leave_room_for_small_ones(
    picture: bytes, stuck: _Stuck
) -> None:
    admission = Admission(decoders=1, patience=0.05)
    for _ in range(2):
        with pytest.raises(TooSlow, match=r"0\.05 seconds"):
            admission.decode(picture, stuck, Trace())
    assert stuck.begun.acquire()
    assert not stuck.begun.acquire(blocking=False)
    assert admission.decode(SMALL, len, Trace()) == len(SMALL)
    stuck.go.set()
    assert Admission().decode(picture, len, Trace()) == len(picture)


def test_a_request_is_given_up_and_ping_knows_the_stuck_decoder(stuck: _Stuck) -> None:
    admission = Admission(decoders=1, patience=0.1)
    admission.check_ready()
    traces = [Trace(), Trace()]
    start = time.monotonic()
    for trace in traces:
        with pytest.raises(TooSlow):
            admission.decode(SMALL, stuck, trace)
    assert time.monotonic() - start < 5
    with pytest.raises(NotReady, match=r"decoding an image takes more than 0\.1 seconds"):
        admission.check_ready()
    assert traces[1].seconds["queue"] >= 0.1
    stuck.go.set()
    admission.decode(SMALL, len, Trace())
    admission.check_ready()


def test_what_decoding_raises_is_raised() -> None:
    with pytest.raises(TypeError):
        Admission().decode(SMALL, lambda data: data + 1, Trace())  # type: ignore[operator]


def test_no_more_than_so_many_decode_at_a_time() -> None:
    admission = Admission(decoders=3)
    counting = threading.Lock()
    at_work, most = 0, 0
    full = threading.Event()

    def decode(_: bytes) -> None:
        nonlocal at_work, most
        with counting:
            at_work += 1
            most = max(most, at_work)
            if at_work == 3:
                full.set()
        full.wait(10)
        with counting:
            at_work -= 1

    with ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(admission.decode, SMALL, decode, Trace()) for _ in range(12)]:
            done.result()
    assert most == 3

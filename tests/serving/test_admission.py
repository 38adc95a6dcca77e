"""Bounds on requests at work and on decoding."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from sagemaker_object_detection.serving.admission import LARGE_PIXELS, Admission
from sagemaker_object_detection.serving.batching import Overloaded, TooSlow
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


@pytest.mark.parametrize("picture", [_large(), UNKNOWN], ids=["large", "unknown"])
def test_large_pictures_go_one_at_a_time_and_leave_room_for_small_ones(picture: bytes) -> None:
    admission = Admission(decoders=2, patience=0.05)
    with admission.decoding(picture):
        with pytest.raises(TooSlow, match=r"0\.05 seconds"), admission.decoding(picture):
            pass
        with admission.decoding(SMALL):
            pass
    with admission.decoding(picture):
        pass


def test_no_more_than_so_many_decode_at_a_time() -> None:
    admission = Admission(decoders=3)
    counting = threading.Lock()
    at_work, most = 0, 0
    full = threading.Event()

    def decode() -> None:
        nonlocal at_work, most
        with admission.decoding(SMALL):
            with counting:
                at_work += 1
                most = max(most, at_work)
                if at_work == 3:
                    full.set()
            full.wait(10)
            with counting:
                at_work -= 1

    with ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(decode) for _ in range(12)]:
            done.result()
    assert most == 3

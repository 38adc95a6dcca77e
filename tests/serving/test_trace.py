from __future__ import annotations

import contextlib
import time

from sagemaker_object_detection.serving.trace import STAGES, Trace


def test_a_stage_counts_however_it_ends() -> None:
    trace = Trace()
    start = time.perf_counter()
    with contextlib.suppress(ValueError), trace.stage("decode"):
        time.sleep(0.002)
        raise ValueError("no image")
    assert 0.002 <= trace.seconds["decode"] <= time.perf_counter() - start


def test_blocks_of_a_stage_add_up() -> None:
    trace = Trace(seconds={"encode": 1.0})
    with trace.stage("encode"):
        pass
    assert 1.0 < trace.seconds["encode"] < 1.1


def test_a_request_that_came_before_its_trace() -> None:
    trace = Trace.begun(2)
    assert trace.seconds["receive"] == 2
    assert time.time() - 3 < trace.arrived <= time.time() - 2
    trace.finish()
    assert trace.total is not None
    assert trace.total >= trace.seconds["receive"]


def test_milliseconds_in_the_order_of_a_request() -> None:
    trace = Trace(seconds={"model": 0.05, "queue": 0.0000004, "receive": 0.0012345678})
    assert list(trace.milliseconds().items()) == [
        ("receive", 1.235),
        ("queue", 0.0),
        ("model", 50.0),
    ]
    trace.finish()
    assert list(trace.milliseconds()) == ["receive", "queue", "model", "total"]


def test_server_timing() -> None:
    trace = Trace(seconds={"decode": 0.0032, "model": 0.05}, total=0.06)
    assert trace.server_timing() == "decode;dur=3.200, model;dur=50.000, total;dur=60.000"
    assert Trace().server_timing() == ""


def test_the_total_holds_all_stages() -> None:
    trace = Trace()
    for stage in STAGES:
        with trace.stage(stage):
            pass
    trace.finish()
    assert trace.total is not None
    assert trace.total >= sum(trace.seconds.values()) > 0

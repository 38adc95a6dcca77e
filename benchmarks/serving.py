"""The endpoint against the libraries called directly: ResNet-50 at 512 px, one 640x480 JPEG.

python benchmarks/serving.py [--rounds 3] [--requests 40] [--seconds 20]
Needs hey (Debian's hey). Sides take turns in one run, each in a process of its own: GluonCV's
hybridised network as a user calls it (MXNet's default threads), OpenVINO on the twins as it comes,
our engines, and ./serve over HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data
from endpoint import BASE, CLIENTS, SIDE, WARM_UP, answered, logged, make_artifact, running
from numpy.typing import NDArray
from processes import children, resident_mib

PRECISIONS = ("float32", "bfloat16", "int8")
LOAD = 0.8


def _timed(run: Callable[[], object], requests: int) -> list[float]:
    times = []
    for _ in range(WARM_UP + requests):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times[WARM_UP:]


def _planes() -> NDArray[Any]:
    from sagemaker_object_detection.images import decode, resize_square
    from sagemaker_object_detection.inference.predictor import to_planes

    image = decode((BASE / "picture.jpg").read_bytes(), "the picture")
    return to_planes(resize_square(image, SIDE))[None]


def gluoncv(requests: int) -> list[float]:
    """GluonCV's network, hybridised, called on a normalised picture."""
    import mxnet as mx
    import numpy as np

    from sagemaker_object_detection.model.network import make_ssd
    from sagemaker_object_detection.model.specs import get_spec

    net = make_ssd(get_spec("resnet-50", SIDE), data.NUM_CLASSES)
    net.initialize()
    net.hybridize()
    pixels = mx.nd.array((_planes().astype(np.float32) - 120) / 58)
    return _timed(lambda: [output.asnumpy() for output in net(pixels)], requests)


def openvino(requests: int, precision: str) -> list[float]:
    """OpenVINO on the twin, with nothing set but the precision."""
    import numpy as np
    import openvino as ov

    name = "model-int8.onnx" if precision == "int8" else "model.onnx"
    core = ov.Core()
    model = core.read_model(BASE / "model" / name)
    model.reshape([1, 3, SIDE, SIDE])
    hint = "bf16" if precision == "bfloat16" else "f32"
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    pixels = _planes().astype(np.float32)
    return _timed(lambda: compiled([pixels]), requests)


def engine(requests: int, precision: str) -> list[float]:
    """Our engine, heads to detections included."""
    from sagemaker_object_detection.platform.threads import set_threads

    threads = set_threads(os.environ)
    planes = _planes()
    if precision == "mxnet":
        from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine

        mxnet = MXNetEngine.from_folder(BASE / "model")
        return _timed(lambda: mxnet.detect(planes), requests)
    from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine

    ours = OpenVINOEngine.from_folder(BASE / "model", precision, threads)
    return _timed(lambda: ours.detect(planes), requests)


def stages(requests: int) -> dict[str, float]:
    """Median milliseconds of each stage of the last requests, by the endpoint's log."""
    told = [one["ms"] for one in logged()[-requests:]]
    return {name: statistics.median(one[name] for one in told) for name in told[0]}


def over_http(precision: str, requests: int, seconds: float) -> dict[str, Any]:
    """Latency of one client and its stages, throughput of many, latency at a part of that, etc."""
    with running(precision) as (server, start):
        (worker,) = children(server.pid)
        answered("-n", WARM_UP, "-c", 1)
        alone = answered("-n", requests, "-c", 1)
        each = stages(requests)
        many = answered("-z", f"{seconds}s", "-c", CLIENTS)
        rate = len(many) / seconds
        some = answered("-z", f"{seconds}s", "-c", 4, "-q", LOAD * rate / 4)
        memory = resident_mib(worker)
        mxnet = "libmxnet" in Path(f"/proc/{worker}/maps").read_text()
    return {
        "p50": 1000 * statistics.median(alone),
        "a second": rate,
        "p99/p50": statistics.quantiles(some, n=100)[98] / statistics.median(some),
        "start": start,
        "MB": memory,
        "mxnet": mxnet,
        "stages": each,
    }


def measure(options: argparse.Namespace, *side: str) -> Any:  # noqa: ANN401 - JSON
    """What a side prints, run in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--side", *side]
    command += ["--requests", str(options.requests), "--seconds", str(options.seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def p50(options: argparse.Namespace, *side: str) -> float:
    """Milliseconds."""
    return 1000 * statistics.median(measure(options, *side))


def main() -> None:
    """Run all sides in turns, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--side", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        name, *rest = options.side
        if name == "endpoint":
            print(json.dumps(over_http(rest[0], options.requests, options.seconds)))
        else:
            run = {"gluoncv": gluoncv, "openvino": openvino, "engine": engine}[name]
            print(json.dumps(run(options.requests, *rest)))
        return
    shutil.rmtree(BASE, ignore_errors=True)
    make_artifact()
    print(data.machine(), f"ResNet-50 at {SIDE} px", flush=True)
    for number in range(options.rounds):
        reference = p50(options, "gluoncv")
        print(f"round {number}: GluonCV {reference:.0f} ms", flush=True)
        for precision in (*PRECISIONS, "mxnet"):
            bare = "" if precision == "mxnet" else p50(options, "openvino", precision)
            alone = p50(options, "engine", precision)
            got = measure(options, "endpoint", precision)
            shown = f"OpenVINO {bare:.1f} ({got['p50'] / bare:.2f}x), " if bare else ""
            print(
                f"  {precision}: endpoint {got['p50']:.1f} ms ({got['p50'] / reference:.3f}x "
                f"GluonCV), {shown}engine {alone:.1f} (+{got['p50'] - alone:.1f}); {CLIENTS} "
                f"clients {got['a second']:.2f}/s ({got['a second'] * alone / 1000:.3f} of the "
                f"engine); p99/p50 at {LOAD:.0%} load {got['p99/p50']:.2f}; start "
                f"{got['start']:.1f} s, {got['MB']:.0f} MB, MXNet loaded: {got['mxnet']}",
                flush=True,
            )
            each = ", ".join(f"{name} {ms:.2f}" for name, ms in got["stages"].items())
            print(f"    ms: {each}", flush=True)


if __name__ == "__main__":
    main()

"""The endpoint against the libraries called directly: ResNet-50 at 512 px, one 640x480 JPEG.

python benchmarks/serving.py [--rounds 3] [--requests 40] [--seconds 20]
Needs hey (Debian's hey), which makes the load in a process of its own. Sides take turns in one run,
each in a process of its own: GluonCV's hybridised network as a user calls it (MXNet's default
threads), OpenVINO on the twins as it comes, our engines, and ./serve over HTTP. The weights are
random: the time does not depend on them but for NMS, which has every anchor to sort then.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import data
from numpy.typing import NDArray

SIDE = 512
PORT = 18080
URL = f"http://127.0.0.1:{PORT}/invocations"
WARM_UP = 5
PRECISIONS = ("float32", "bfloat16", "int8")
CLIENTS = 16
LOAD = 0.8


def make_artifact(base: Path) -> None:
    """A ResNet-50 artefact with three classes and both twins in base/model."""
    import mxnet as mx

    from sagemaker_object_detection.data.sources import RecordIOSource
    from sagemaker_object_detection.images import decode, resize_square
    from sagemaker_object_detection.inference.predictor import to_planes
    from sagemaker_object_detection.inference.twins import make_twins
    from sagemaker_object_detection.model import artifact
    from sagemaker_object_detection.model.deploy import deploy_graph
    from sagemaker_object_detection.model.network import build_network, initialize
    from sagemaker_object_detection.model.specs import get_spec

    network = build_network(get_spec("resnet-50", SIDE), data.NUM_CLASSES)
    initialize(network, [mx.cpu()], 0)
    folder = base / "model"
    folder.mkdir(parents=True)
    deploy_graph(network, 0.45, 400).save(folder)
    names = tuple(f"class_{i}" for i in range(data.NUM_CLASSES))
    artifact.write_config(folder, artifact.ModelConfig(names, SIDE, "resnet-50"))
    source = RecordIOSource([data.bccd() / "validation" / "validation.rec"])
    (base / "picture.jpg").write_bytes(source.read_image(0))
    pictures = (resize_square(decode(source.read_image(i), str(i)), SIDE) for i in range(32))
    make_twins(folder, (to_planes(picture)[None] for picture in pictures), os.cpu_count() or 1)


def _timed(run: Callable[[], object], requests: int) -> list[float]:
    times = []
    for _ in range(WARM_UP + requests):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times[WARM_UP:]


def _planes(base: Path) -> NDArray[Any]:
    from sagemaker_object_detection.images import decode, resize_square
    from sagemaker_object_detection.inference.predictor import to_planes

    image = decode((base / "picture.jpg").read_bytes(), "the picture")
    return to_planes(resize_square(image, SIDE))[None]


def gluoncv(base: Path, requests: int) -> list[float]:
    """GluonCV's network, hybridised, called on a normalised picture."""
    import mxnet as mx
    import numpy as np

    from sagemaker_object_detection.model.network import make_ssd
    from sagemaker_object_detection.model.specs import get_spec

    net = make_ssd(get_spec("resnet-50", SIDE), data.NUM_CLASSES)
    net.initialize()
    net.hybridize()
    pixels = mx.nd.array((_planes(base).astype(np.float32) - 120) / 58)
    return _timed(lambda: [output.asnumpy() for output in net(pixels)], requests)


def openvino(base: Path, requests: int, precision: str) -> list[float]:
    """OpenVINO on the twin, with nothing set but the precision."""
    import numpy as np
    import openvino as ov

    name = "model-int8.onnx" if precision == "int8" else "model.onnx"
    core = ov.Core()
    model = core.read_model(base / "model" / name)
    model.reshape([1, 3, SIDE, SIDE])
    hint = "bf16" if precision == "bfloat16" else "f32"
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    pixels = _planes(base).astype(np.float32)
    return _timed(lambda: compiled([pixels]), requests)


def engine(base: Path, requests: int, precision: str) -> list[float]:
    """Our engine, heads to detections included."""
    from sagemaker_object_detection.platform.threads import set_threads

    threads = set_threads(os.environ)
    planes = _planes(base)
    if precision == "mxnet":
        from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine

        mxnet = MXNetEngine.from_folder(base / "model")
        return _timed(lambda: mxnet.detect(planes), requests)
    from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine

    ours = OpenVINOEngine.from_folder(base / "model", precision, threads)
    return _timed(lambda: ours.detect(planes), requests)


@contextmanager
def serving(
    base: Path, precision: str, **more: str
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A running endpoint, and the seconds until its first /ping that succeeded.

    more: environment variables.
    """
    environ = os.environ | {
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(PORT),
        "OBJECT_DETECTION_ENGINE": "mxnet" if precision == "mxnet" else "openvino",
        "OBJECT_DETECTION_PRECISION": "auto" if precision == "mxnet" else precision,
        **more,
    }
    with (base / "serve.log").open("wb") as log:
        started = time.perf_counter()
        command = [sys.executable, str(data.ROOT / "serve")]
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            while not _pings():
                if server.poll() is not None or time.perf_counter() - started > 60:
                    raise SystemExit(f"the endpoint did not come up: see {log.name}")
                time.sleep(0.02)
            yield server, time.perf_counter() - started
        finally:
            server.terminate()
            server.wait(30)


def _pings() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=2)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def stages(base: Path, requests: int) -> dict[str, float]:
    """Median milliseconds of each stage of the last requests, by the endpoint's log."""
    lines = (base / "serve.log").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line)["ms"] for line in lines if line.startswith("{")][-requests:]
    return {name: statistics.median(one[name] for one in told) for name in told[0]}


def hey(base: Path, *options: object) -> list[float]:
    """Seconds of each request; raises SystemExit when one was refused."""
    given = ["-m", "POST", "-T", "image/jpeg", "-D", base / "picture.jpg", "-o", "csv", URL]
    command = ["hey", *map(str, [*options, *given])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    refused = {row["status-code"] for row in rows} - {"200"}
    if refused or not rows:
        raise SystemExit(f"the endpoint answered {refused}")
    return [float(row["response-time"]) for row in rows]


def endpoint(base: Path, requests: int, precision: str, seconds: float) -> dict[str, Any]:
    """Latency of one client and its stages, throughput of many, latency at a part of that, etc."""
    with serving(base, precision) as (server, start):
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        hey(base, "-n", WARM_UP, "-c", 1)
        alone = hey(base, "-n", requests, "-c", 1)
        each = stages(base, requests)
        many = hey(base, "-z", f"{seconds}s", "-c", CLIENTS)
        rate = len(many) / seconds
        some = hey(base, "-z", f"{seconds}s", "-c", 4, "-q", LOAD * rate / 4)
        status = Path(f"/proc/{children[0]}/status").read_text()
        rss = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        mxnet = "libmxnet" in Path(f"/proc/{children[0]}/maps").read_text()
    return {
        "p50": 1000 * statistics.median(alone),
        "a second": rate,
        "p99/p50": statistics.quantiles(some, n=100)[98] / statistics.median(some),
        "start": start,
        "MB": int(rss) / 1024,
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
    base = data.BUILD / "serving"
    if options.side:
        name, *rest = options.side
        if name == "endpoint":
            print(json.dumps(endpoint(base, options.requests, rest[0], options.seconds)))
        else:
            run = {"gluoncv": gluoncv, "openvino": openvino, "engine": engine}[name]
            print(json.dumps(run(base, options.requests, *rest)))
        return
    shutil.rmtree(base, ignore_errors=True)
    make_artifact(base)
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

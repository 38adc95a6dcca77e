"""The endpoint's latency against the model's own time: one client, ResNet-50 at 512 px.

python benchmarks/endpoint.py [--requests 30] [--rounds 3]
The model alone (MXNetEngine.detect on the prepared image, in a process of its own) and the endpoint
(./serve, over HTTP) take turns in one run. The weights are random: the time does not depend on them
but for NMS, which has every anchor to sort then.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import data

SIDE = 512
PORT = 18080
WARM_UP = 5


def make_artifact(base: Path) -> None:
    """A ResNet-50 artefact with three classes in base/model."""
    import mxnet as mx

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


def picture() -> bytes:
    """The first validation picture, 640x480."""
    from sagemaker_object_detection.data.sources import RecordIOSource

    return RecordIOSource([data.bccd() / "validation" / "validation.rec"]).read_image(0)


def measure_model(base: Path, requests: int) -> list[float]:
    """Seconds of each run of the graph alone."""
    from sagemaker_object_detection.platform.threads import set_threads

    set_threads(os.environ)
    from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
    from sagemaker_object_detection.inference.predictor import Predictor

    engine = MXNetEngine.from_folder(base / "model")
    planes, _ = Predictor(engine, ["0", "1", "2"]).prepare(picture())
    times = []
    for _ in range(WARM_UP + requests):
        started = time.perf_counter()
        engine.detect(planes[None])
        times.append(time.perf_counter() - started)
    return times[WARM_UP:]


def measure_endpoint(base: Path, requests: int) -> list[float]:
    """Seconds of each request, over one connection."""
    environment = os.environ | {
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(PORT),
    }
    log = (base / "serve.log").open("w", encoding="utf-8")
    server = subprocess.Popen(
        [sys.executable, str(data.ROOT / "serve")], env=environment, stdout=log, stderr=log
    )
    try:
        _wait_for_ping(server)
        body = picture()
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        times = []
        for _ in range(WARM_UP + requests):
            started = time.perf_counter()
            connection.request("POST", "/invocations", body, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            content = answer.read()
            times.append(time.perf_counter() - started)
            if answer.status != 200:
                raise SystemExit(f"the endpoint answered {answer.status}: {content!r}")
        return times[WARM_UP:]
    finally:
        server.terminate()
        server.wait(30)


def _wait_for_ping(server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=2)
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the endpoint did not come up: see serve.log")


def main() -> None:
    """Run both sides in turns, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["model", "endpoint"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    base = data.BUILD / "endpoint"
    if options.side:
        measure = {"model": measure_model, "endpoint": measure_endpoint}[options.side]
        print(json.dumps(measure(base, options.requests)))
        return
    shutil.rmtree(base, ignore_errors=True)
    make_artifact(base)
    print(data.machine(), f"ResNet-50 at {SIDE} px, float32, MXNet engine, one client")
    for number in range(options.rounds):
        p50 = {}
        for side in ("model", "endpoint"):
            command = [sys.executable, "-W", "ignore", __file__, "--side", side]
            command += ["--requests", str(options.requests)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            p50[side] = 1000 * statistics.median(json.loads(done.stdout.splitlines()[-1]))
        ratio = p50["endpoint"] / p50["model"]
        print(
            f"round {number}: model {p50['model']:.1f} ms, endpoint p50 {p50['endpoint']:.1f} ms, "
            f"{ratio:.3f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()

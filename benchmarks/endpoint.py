"""An endpoint for the benchmarks, ResNet-50 at 512 px, and hey, which makes its load.

hey (Debian's hey) runs in a process of its own. The weights are random: the time does not depend on
them but for NMS, which has every anchor to sort then.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import data

BASE = data.BUILD / "serving"
"""The endpoint's tree: BASE/model, BASE/picture.jpg (640x480) and BASE/serve.log."""

SIDE = 512
PORT = 18080
URL = f"http://127.0.0.1:{PORT}/invocations"
WARM_UP = 5
CLIENTS = 16
_POST = ("-m", "POST", "-T", "image/jpeg", "-D", BASE / "picture.jpg")


def make_artifact() -> None:
    """An artefact with three classes and both twins, and a picture, unless they are there."""
    if (BASE / "picture.jpg").is_file():
        return
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
    shutil.rmtree(BASE, ignore_errors=True)
    folder = BASE / "model"
    folder.mkdir(parents=True)
    deploy_graph(network, 0.45, 400).save(folder)
    names = tuple(f"class_{i}" for i in range(data.NUM_CLASSES))
    artifact.write_config(folder, artifact.ModelConfig(names, SIDE, "resnet-50"))
    source = RecordIOSource([data.bccd() / "validation" / "validation.rec"])
    pictures = (resize_square(decode(source.read_image(i), str(i)), SIDE) for i in range(32))
    make_twins(folder, (to_planes(picture)[None] for picture in pictures), os.cpu_count() or 1)
    (BASE / "picture.jpg").write_bytes(source.read_image(0))  # the last: all is there


@contextmanager
def running(precision: str, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """./serve, and the seconds until its first /ping that succeeded.

    precision: or "mxnet", that engine.
    more: environment variables.
    """
    environ = os.environ | {
        "SAGEMAKER_BASE_DIR": str(BASE),
        "SAGEMAKER_BIND_TO_PORT": str(PORT),
        "OBJECT_DETECTION_ENGINE": "mxnet" if precision == "mxnet" else "openvino",
        "OBJECT_DETECTION_PRECISION": "auto" if precision == "mxnet" else precision,
        **more,
    }
    with (BASE / "serve.log").open("wb") as log:
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


def logged() -> list[dict[str, Any]]:
    """What the endpoint's log says of each request."""
    lines = (BASE / "serve.log").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def hey(*options: object) -> str:
    """What hey prints after posting the picture; options are its own."""
    command = ["hey", *map(str, [*options, *_POST, URL])]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def answered(*options: object) -> list[float]:
    """Seconds of each request of hey; raises SystemExit when one was refused."""
    rows = list(csv.DictReader(io.StringIO(hey(*options, "-o", "csv"))))
    refused = {row["status-code"] for row in rows} - {"200"}
    if refused or not rows:
        raise SystemExit(f"the endpoint answered {refused}")
    return [float(row["response-time"]) for row in rows]

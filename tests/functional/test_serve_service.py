"""Artefacts of the service's own algorithm behind ./serve: their graph's detections, over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from tests import service_artifact
from tests.functional.endpoint_process import running
from tests.rows import require_same_detections
from tests.service_network import Service, graph
from tests.tiny_model import encoded

RESNET = Service("resnet-50", 2, 300, width=1 / 16)
RESNET_DEPLOY = Service("resnet-50", 2, 512, width=1 / 16, deploy=True)
VGG = Service("vgg-16", 3, 300, width=1 / 16)
VGG_DEPLOY = Service("vgg-16", 3, 512, width=1 / 16, deploy=True)


@pytest.mark.parametrize(
    ("service", "engine"),
    [
        pytest.param(RESNET, "auto", id="ResNet-50, training graph"),
        pytest.param(RESNET_DEPLOY, "auto", id="ResNet-50, deploy graph"),
        pytest.param(VGG, "auto", id="VGG-16, training graph"),
        pytest.param(VGG_DEPLOY, "auto", id="VGG-16, deploy graph"),
        pytest.param(VGG, "mxnet", id="VGG-16, MXNet"),
    ],
)
def test_detections_are_those_of_the_graph(tmp_path: Path, service: Service, engine: str) -> None:
    folder = service_artifact.write(tmp_path / "model", service)
    picture = service_artifact.picture(service.image_shape, seed=1)
    (params,) = folder.glob("*.params")
    values = {key: value.asnumpy() for key, value in mx.nd.load(str(params)).items()}
    expected = service_artifact.run(graph(service), values, picture)[-1]
    environ = {"OBJECT_DETECTION_ENGINE": engine}
    if engine == "auto":
        environ["OBJECT_DETECTION_PRECISION"] = "float32"
    with running(tmp_path, **environ) as endpoint:
        endpoint.wait_ready()
        status, _, body = endpoint.request(
            "POST",
            "/invocations",
            encoded(picture[0].transpose(1, 2, 0).astype(np.uint8)),
            Accept="application/json;format=builtin",
            X_Amzn_SageMaker_Custom_Attributes="threshold=0",
        )
    assert status == 200
    found = np.array(json.loads(body)["prediction"])
    assert (found[:, 0] >= 0).sum() > 10
    require_same_detections(found[None], expected, 1e-5)

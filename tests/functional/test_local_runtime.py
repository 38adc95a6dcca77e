"""./serve and the runtime client of the SageMaker SDK's local mode.

That client posts to /invocations by urllib3, with headers for what InvokeEndpoint takes, and keeps
the connection. The same exchange is made here without the SDK, and with it where there is one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import urllib3

from tests.functional.endpoint_process import PICTURE, Endpoint
from tests.sagemaker_sdk import run_with_sdk, sdk_python

# What a client asks, and the classes that it hears of; None is what it does not say.
REQUESTS: list[tuple[dict[str, str | None], set[str]]] = [
    ({"ContentType": "image/jpeg", "Accept": None}, {"red", "blue"}),
    ({"ContentType": None, "Accept": None}, {"red", "blue"}),
    ({"ContentType": "application/octet-stream", "Accept": "*/*"}, {"red", "blue"}),
    ({"ContentType": "application/x-image", "Accept": "application/json"}, {"red", "blue"}),
    ({"ContentType": "image/jpeg", "CustomAttributes": "classes=red"}, {"red"}),
    ({"ContentType": "image/jpeg", "InferenceId": "seen-1"}, {"red", "blue"}),
]
HEADERS = {
    "ContentType": "Content-type",
    "Accept": "Accept",
    "CustomAttributes": "X-Amzn-SageMaker-Custom-Attributes",
    "InferenceId": "X-Amzn-SageMaker-Inference-Id",
}

WITH_SDK = """
import json, sys, boto3
from sagemaker.local import LocalSession

port, picture, requests = int(sys.argv[1]), open(sys.argv[2], "rb").read(), sys.argv[3]
session = LocalSession(boto3.Session(region_name="eu-west-1"))
session.config = {"local": {"serving_port": port}}
client = session.sagemaker_runtime_client
answers = [
    json.loads(client.invoke_endpoint(Body=picture, EndpointName="any", **request)["Body"].read())
    for request in json.loads(requests)
]
print(json.dumps(answers))
"""


def _classes(answer: dict[str, Any]) -> set[str]:
    return {found["class_name"] for found in answer["predictions"]}


def test_the_same_exchange(endpoint: Endpoint) -> None:
    with urllib3.PoolManager() as http:
        for request, classes in REQUESTS:
            headers = {HEADERS[name]: value for name, value in request.items() if value is not None}
            answer = http.request(
                "POST",
                f"{endpoint.url}/invocations",
                body=PICTURE,
                preload_content=False,
                headers=headers,
            )
            assert answer.status == 200
            assert _classes(json.loads(answer.read())) == classes
    assert '"id": "seen-1"' in endpoint.log


def test_the_client_itself(endpoint: Endpoint, tmp_path: Path) -> None:
    sdk_python()
    picture = tmp_path / "a.jpg"
    picture.write_bytes(PICTURE)
    requests = json.dumps([request for request, _ in REQUESTS])
    done = run_with_sdk("-c", WITH_SDK, endpoint.port, picture, requests)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert [_classes(answer) for answer in answers] == [classes for _, classes in REQUESTS]

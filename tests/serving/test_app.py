from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from flask.testing import FlaskClient

from sagemaker_object_detection.serving.admission import TracedPredictor
from sagemaker_object_detection.serving.app import create_app
from sagemaker_object_detection.serving.batching import NotReady, Overloaded, TooSlow
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.serving.trace import Trace
from tests.orientation import stored, with_tag
from tests.serving.pictures import JPEG, PNG

ROWS = np.array(
    [[-1, -1, -1, -1, -1, -1], [1, 0.1, 0, 0, 1, 1], [0, 0.9, 0.25, 0.25, 0.5, 0.5]], np.float32
)


class MXNetError(RuntimeError):
    """As MXNet's own: told by its name, without importing MXNet."""


class _Engine:
    image_shape = 8
    raises: Exception | None = None

    def detect(self, planes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if self.raises is not None:
            raise self.raises
        return ROWS[None]

    def detect_traced(self, planes: npt.NDArray[Any], trace: Trace) -> npt.NDArray[np.float32]:
        return self.detect(planes[None])[0]


@pytest.fixture
def engine() -> _Engine:
    return _Engine()


@pytest.fixture
def make(engine: _Engine) -> Callable[..., FlaskClient]:
    def client(
        fault: str | None = None,
        thresholds: Sequence[float] = (),
        **settings: Any,  # noqa: ANN401
    ) -> FlaskClient:
        def check_ready() -> None:
            if fault is not None:
                raise NotReady(fault)

        predictor = TracedPredictor(engine, ["cat", "dog"], thresholds=thresholds)
        return create_app(predictor, check_ready, Settings(**settings)).test_client()

    return client


Make = Callable[..., FlaskClient]


def test_ping(make: Make) -> None:
    answer = make().get("/ping")
    assert (answer.status_code, answer.data) == (200, b"")


def test_ping_says_why_not(make: Make) -> None:
    answer = make(fault="the last run of the model failed").get("/ping")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["error"] == "the last run of the model failed"
    assert answer.json["hint"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("image/jpeg", JPEG, id="jpeg"),
        pytest.param("image/png", PNG, id="png"),
        pytest.param("image/jpg", JPEG, id="no registered type, but in use"),
        pytest.param("application/x-image", JPEG, id="the service's own type"),
        pytest.param("application/x-www-form-urlencoded", JPEG, id="what curl says of any bytes"),
        pytest.param("application/octet-stream", PNG, id="what version 2 of the SDK sends"),
        pytest.param(None, JPEG, id="no type at all, as version 1 of the SDK"),
        pytest.param("Image/JPEG; charset=binary", JPEG, id="case and parameters"),
        pytest.param("image/png", JPEG, id="the bytes decide"),
        pytest.param("image/webp", JPEG, id="any image"),
        pytest.param("binary/octet-stream", JPEG, id="what S3 says of any file"),
    ],
)
def test_invocations(make: Make, content_type: str | None, body: bytes) -> None:
    answer = make().post("/invocations", data=body, content_type=content_type)
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert answer.json == {
        "predictions": [
            {"class_id": 0, "class_name": "cat", "score": 0.9, "bbox": [16.0, 12.0, 32.0, 24.0]}
        ]
    }


class _Corner(_Engine):
    """Its score is the red of the pixel in the top left corner."""

    def detect(self, planes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        rows = ROWS.copy()
        rows[2, 1] = planes[0, 0, 0, 0] / 255
        return rows[None]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("tag", range(2, 9))
def test_a_tagged_image_is_answered_as_it_is_displayed(suffix: str, tag: int) -> None:
    """Blocks of one gray each, which survive JPEG; all four corners differ."""
    client = create_app(TracedPredictor(_Corner(), ["cat", "dog"]), lambda: None, Settings())
    shown = np.kron(np.uint8([[90, 130, 170], [210, 230, 250]]), np.ones((16, 16), np.uint8))
    sent = with_tag(_encoded(suffix, stored(shown, tag)), tag)
    wanted = client.test_client().post("/invocations", data=_encoded(suffix, shown)).json
    assert client.test_client().post("/invocations", data=sent).json == wanted
    assert wanted is not None
    (found,) = wanted["predictions"]
    assert found["score"] == pytest.approx(90 / 255, abs=0.02)
    assert found["bbox"] == [12.0, 8.0, 24.0, 16.0]


def _encoded(suffix: str, gray: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(suffix, gray)[1].tobytes()


def test_default_form_and_threshold_of_the_settings(make: Make) -> None:
    answer = make(response="builtin").post("/invocations", data=JPEG)
    assert answer.json is not None
    assert [row[0] for row in answer.json["prediction"]] == [0.0, 1.0]
    answer = make(response="builtin", threshold=0.5).post("/invocations", data=JPEG)
    assert answer.json is not None
    assert [row[0] for row in answer.json["prediction"]] == [0.0]


def test_accept_wins_over_the_default_form(make: Make) -> None:
    accept = {"Accept": "application/json;format=objects"}
    answer = make(response="builtin").post("/invocations", data=JPEG, headers=accept)
    assert answer.json is not None
    assert "predictions" in answer.json


def test_default_accept_of_the_settings(make: Make) -> None:
    client = make(accept="application/jsonlines")
    assert client.post("/invocations", data=JPEG).content_type == "application/jsonlines"
    accept = {"Accept": "application/json"}
    answer = client.post("/invocations", data=JPEG, headers=accept)
    assert answer.content_type == "application/json"


def test_json_lines(make: Make) -> None:
    accept = {"Accept": "application/jsonlines"}
    answer = make().post("/invocations", data=JPEG, headers=accept)
    assert answer.content_type == "application/jsonlines"
    assert answer.data.endswith(b"\n")


@pytest.mark.parametrize(
    ("request_", "status", "what", "hint"),
    [
        pytest.param({"data": b""}, 400, "body of the request is empty", "JPEG, PNG", id="empty"),
        pytest.param({"data": b"hello"}, 400, "the body is not an image", "JPEG", id="text"),
        pytest.param({"data": JPEG[:-40]}, 400, "cut short", "JPEG, PNG", id="half a JPEG"),
        pytest.param({"data": PNG[:40]}, 400, "begins as a PNG", "JPEG, PNG", id="half a PNG"),
        pytest.param(
            {"data": JPEG, "content_type": "text/csv"},
            415,
            "Content-Type 'text/csv' is not supported",
            "application/x-image",
            id="wrong type",
        ),
        pytest.param(
            {"data": JPEG, "headers": {"Accept": "text/csv"}},
            406,
            "Accept header 'text/csv'",
            "application/json;format=builtin",
            id="unacceptable",
        ),
        pytest.param({"path": "/predict"}, 404, "nothing at this path", "/invocations", id="path"),
        pytest.param(
            {"method": "GET"}, 405, "not for this method", "POST /invocations", id="method"
        ),
    ],
)
def test_faults_of_a_request(
    make: Make, request_: dict[str, Any], status: int, what: str, hint: str
) -> None:
    request_ = {"path": "/invocations", "method": "POST"} | request_
    answer = make().open(**request_)
    assert answer.status_code == status
    assert answer.content_type == "application/json"
    assert answer.json is not None
    assert what in answer.json["error"]
    assert hint in answer.json["hint"]
    assert "hello" not in answer.text  # nothing of a body


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "application/x-image"])
@pytest.mark.parametrize("magic", [b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"])
def test_jpeg_2000_is_refused_whatever_it_is_called(
    make: Make, magic: bytes, content_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("OpenCV saw the bytes"))
    answer = make().post("/invocations", data=magic + bytes(99), content_type=content_type)
    assert answer.status_code == 400


ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.mark.parametrize(
    ("attributes", "class_ids"),
    [
        pytest.param("threshold=0.05", [0, 1], id="below what the form has"),
        pytest.param("threshold=0.05;top_k=1", [0], id="best first"),
        pytest.param("threshold=0.05;classes=dog", [1], id="a class"),
        pytest.param("classes=dog", [], id="the threshold of the form stays"),
        pytest.param("trace=1-5759e988;tenant", [0], id="not ours"),
    ],
)
@pytest.mark.parametrize("form", ["objects", "annotation"])
def test_custom_attributes(make: Make, form: str, attributes: str, class_ids: list[int]) -> None:
    parameter = {"objects": "format=objects", "annotation": "annotation=1"}[form]
    headers = {ATTRIBUTES: attributes, "Accept": f"application/json; {parameter}"}
    answer = make(threshold=0.2).post("/invocations", data=JPEG, headers=headers)
    assert answer.json is not None
    found = answer.json["predictions" if form == "objects" else "annotations"]
    assert [one["class_id"] for one in found] == class_ids
    assert answer.headers[ATTRIBUTES] == attributes


def test_bad_custom_attributes(make: Make) -> None:
    headers = {ATTRIBUTES: "threshold=high"}
    answer = make().post("/invocations", data=JPEG, headers=headers)
    assert answer.status_code == 400
    assert answer.json is not None
    assert "threshold is 'high', which is not a number; give a number >= 0" in answer.json["error"]
    assert "classes=car,dog" in answer.json["hint"]
    assert answer.headers[ATTRIBUTES] == "threshold=high"


def test_no_custom_attributes(make: Make) -> None:
    assert ATTRIBUTES not in make().post("/invocations", data=JPEG).headers


def test_the_page_can_be_switched_off(make: Make) -> None:
    assert make().get("/").content_type == "text/html; charset=utf-8"
    assert make(page=False).get("/").status_code == 404


def test_the_page_knows_the_least_score(make: Make) -> None:
    assert "do: above 0.2." in make().get("/").text
    assert "do: above 0.35." in make(threshold=0.35).get("/").text
    assert "do: above 0.6." in make(thresholds=(0.5, 0.7)).get("/").text


def test_thresholds_of_the_model(make: Make) -> None:
    """They count for predictions where nobody says otherwise, and not for the service's answer."""

    def found(accept: str, custom: str = "", **given: Any) -> list[int]:  # noqa: ANN401
        headers = {"Accept": accept, ATTRIBUTES: custom}
        answer = make(thresholds=(0.1, 0.95), **given).post(
            "/invocations", data=JPEG, headers=headers
        )
        assert answer.json is not None
        rows = answer.json.get("predictions") or answer.json["prediction"]
        return [int(row["class_id"] if isinstance(row, dict) else row[0]) for row in rows]

    every = found("application/json;format=builtin")
    assert set(every) == {0, 1}
    assert set(found("application/json;format=objects")) == {0}
    assert found("application/json;format=objects", "threshold=0.01") == every
    assert found("application/json;format=objects", threshold=0.01) == every


def test_method_not_allowed_names_the_methods(make: Make) -> None:
    assert "POST" in make().get("/invocations").headers["Allow"]


@pytest.mark.parametrize(
    ("error", "status", "what"),
    [
        pytest.param(Overloaded("64 images are waiting"), 503, "64 images", id="overloaded"),
        pytest.param(TooSlow("no answer within 60 seconds"), 503, "no answer", id="too slow"),
        pytest.param(MemoryError("Unable to allocate"), 507, "memory was short", id="memory"),
        pytest.param(MXNetError("CUDA: out of memory"), 507, "CUDA: out of", id="a card's memory"),
        pytest.param(RuntimeError("secret path"), 500, "RuntimeError", id="ours"),
    ],
)
def test_faults_of_the_endpoint(
    make: Make, engine: _Engine, error: Exception, status: int, what: str
) -> None:
    engine.raises = error
    answer = make().post("/invocations", data=JPEG)
    assert answer.status_code == status
    assert answer.json is not None
    assert what in answer.json["error"]
    assert "secret" not in answer.text
    assert ("Retry-After" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    ("given", "at_a_time", "largest"),
    [
        pytest.param(25, 4, 25, id="the default"),
        pytest.param(6, 8, 6, id="the platform's default"),
        pytest.param(100, 1, 100, id="the most there is"),
        pytest.param(1024, 1, 100, id="more than there is"),
        pytest.param(0, 4, 25, id="no limit"),
    ],
)
def test_execution_parameters(make: Make, given: int, at_a_time: int, largest: int) -> None:
    """What a batch transform asks for."""
    found = make(max_payload_mb=given).get("/execution-parameters").json
    assert found == {"MaxConcurrentTransforms": at_a_time, "MaxPayloadInMB": largest}
    assert at_a_time * largest <= 100

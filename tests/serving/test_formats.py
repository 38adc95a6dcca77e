from __future__ import annotations

import json

import numpy as np
import pytest

from sagemaker_object_detection.inference.predictor import Detections
from sagemaker_object_detection.serving import formats

JSON = "application/json"
LINES = "application/jsonlines"
NAMES = ("cat", "dog", "cow")

FOUND = Detections(
    np.array([2, 0, 1]),
    np.array([0.9, 0.3, 0.05], np.float32),
    np.array([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.2, 0.2, 0.3, 0.3]], np.float32),
    width=640,
    height=480,
)
NOTHING = Detections(
    np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32), 640, 480
)


@pytest.mark.parametrize(
    ("accept", "content_type", "form"),
    [
        pytest.param(None, JSON, "default", id="no header"),
        pytest.param("", JSON, "default", id="empty header, as some clients send"),
        pytest.param("*/*", JSON, "default", id="anything"),
        pytest.param("*", JSON, "default", id="Java's short form of anything"),
        pytest.param("application/*", JSON, "default", id="any application type"),
        pytest.param(JSON, JSON, "default", id="JSON"),
        pytest.param("Application/JSON; charset=UTF-8", JSON, "default", id="case, charset"),
        pytest.param(f"{JSON};format=builtin", JSON, "builtin", id="builtin"),
        pytest.param(f"{JSON}; Format=Builtin", JSON, "builtin", id="spaces and case"),
        pytest.param(f'{JSON};format="objects"', JSON, "objects", id="quoted"),
        pytest.param(f"{JSON};annotation=1", JSON, "annotation", id="annotation"),
        pytest.param(f"{JSON}; annotation=1", JSON, "annotation", id="annotation with a space"),
        pytest.param(LINES, LINES, "default", id="JSON Lines"),
        pytest.param(f"{LINES};format=builtin", LINES, "builtin", id="JSON Lines, builtin"),
        pytest.param(f"{LINES}, {JSON}", LINES, "default", id="equal: the first one"),
        pytest.param(f"{LINES};q=0.5, {JSON};q=0.9", JSON, "default", id="higher q"),
        pytest.param(f"{JSON};q=0.9, {LINES}", LINES, "default", id="no q is 1"),
        pytest.param(f"*/*, {JSON};format=builtin", JSON, "builtin", id="specific before *"),
        pytest.param(f"{JSON};format=builtin;q=0.1, */*", JSON, "default", id="but q first"),
        pytest.param(f"text/html, {JSON};q=0.1", JSON, "default", id="what we cannot is left out"),
        pytest.param(f"{JSON};q=0, */*", LINES, "default", id="all but JSON"),
        pytest.param(f"{JSON} ; q = 0.2 , ,", JSON, "default", id="odd spaces, empty elements"),
    ],
)
def test_choose(accept: str | None, content_type: str, form: str) -> None:
    for default in ("objects", "builtin"):
        answer = formats.choose(accept, default)
        assert answer.content_type == content_type
        assert answer.form == (default if form == "default" else form)


@pytest.mark.parametrize(
    ("accept", "content_type", "form"),
    [
        pytest.param(None, LINES, "builtin", id="no header"),
        pytest.param(" ", LINES, "builtin", id="empty"),
        pytest.param("*/*", LINES, "builtin", id="anything"),
        pytest.param("*", LINES, "builtin", id="its short form"),
        pytest.param("text/html, */*;q=0.1", LINES, "builtin", id="anything, but another first"),
        pytest.param("application/*", LINES, "builtin", id="any application type"),
        pytest.param(JSON, JSON, "objects", id="JSON is no part of it"),
        pytest.param(LINES, LINES, "objects", id="nor is a type without a form"),
        pytest.param(f"*/*, {LINES};format=builtin;q=0", JSON, "objects", id="anything else"),
    ],
)
def test_another_default(accept: str | None, content_type: str, form: str) -> None:
    answer = formats.choose(accept, "objects", f"{LINES};format=builtin")
    assert (answer.content_type, answer.form) == (content_type, form)


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param("text/html", id="another type"),
        pytest.param("image/*", id="another family"),
        pytest.param(f"{JSON};format=coco", id="a form that is not there"),
        pytest.param(f"{JSON};annotation=2", id="a value that is not there"),
        pytest.param("*/*;q=0", id="nothing at all"),
        pytest.param(f"{JSON};q=high", id="no q-value"),
        pytest.param(f"{JSON};q=nan", id="not a number"),
    ],
)
def test_choose_refuses(accept: str) -> None:
    with pytest.raises(formats.NotAcceptable) as caught:
        formats.choose(accept, "objects")
    assert repr(accept) in str(caught.value)


@pytest.mark.parametrize("accept", formats.offered().split(", "))
def test_what_is_offered_is_accepted(accept: str) -> None:
    assert formats.choose(accept, "objects").content_type == accept.partition(";")[0]


def test_objects() -> None:
    body = formats.Answer(JSON, "objects").render(FOUND.above(0.2), NAMES)
    assert json.loads(body) == {
        "predictions": [
            {"class_id": 2, "class_name": "cow", "score": 0.9, "bbox": [64, 96, 320, 288]},
            {"class_id": 0, "class_name": "cat", "score": 0.3, "bbox": [0, 0, 640, 480]},
        ]
    }


def test_builtin() -> None:
    body = formats.Answer(JSON, "builtin").render(FOUND, NAMES)
    assert "\n" not in body
    rows = json.loads(body)["prediction"]
    assert [type(value) for value in rows[0]] == [float] * 6
    # float32 values widened to double, as the service answers them: nothing is rounded.
    widened = [2.0, *np.array([0.9, 0.1, 0.2, 0.5, 0.6], np.float32).astype(float).tolist()]
    assert rows[0] == widened
    assert len(rows) == 3


def test_annotation() -> None:
    body = json.loads(formats.Answer(JSON, "annotation").render(FOUND, NAMES))
    assert body["image_size"] == [{"width": 640, "height": 480, "depth": 3}]
    first = body["annotations"][0]
    assert first.pop("score") == pytest.approx(0.9)
    assert first == {"class_id": 2, "left": 64, "top": 96, "width": 256, "height": 192}
    assert len(body["annotations"]) == 3


def test_json_lines_end_with_a_line_break() -> None:
    body = formats.Answer(LINES, "objects").render(FOUND, NAMES)
    assert body.endswith("}\n")
    assert body.count("\n") == 1


@pytest.mark.parametrize(
    ("form", "threshold", "expected"),
    [
        ("objects", None, (0.3, 0.6)),
        ("builtin", None, 0.01),
        ("annotation", None, 0.01),
        ("objects", 0.0, 0.0),
        ("builtin", 0.7, 0.7),
    ],
)
def test_least_score(form: str, threshold: float | None, expected: object) -> None:
    assert formats.least_score(form, threshold, (0.3, 0.6)) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("objects", {"predictions": []}),
        ("builtin", {"prediction": []}),
        (
            "annotation",
            {"image_size": [{"width": 640, "height": 480, "depth": 3}], "annotations": []},
        ),
    ],
)
def test_nothing_found(form: str, expected: object) -> None:
    assert json.loads(formats.Answer(JSON, form).render(NOTHING, NAMES)) == expected

"""What the page of a real endpoint says when something goes wrong."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_model
from tests.devtools import Browser
from tests.functional.endpoint_process import PICTURE, running
from tests.functional.shown_page import ShownPage, write_picture

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.mark.parametrize(
    ("name", "content", "title", "what"),
    [
        pytest.param("notes.txt", b"hello", "cannot read", "is not an image", id="text"),
        pytest.param("half.jpg", PICTURE[:-40], "cannot read", "cut short", id="half a JPEG"),
        pytest.param("empty.png", b"", "cannot read", "The body of the request is", id="empty"),
        pytest.param("x.svg", SVG, "cannot read", "not an image", id="the browser can show it"),
        pytest.param("large.png", bytes(2**20 + 1), "too large", "than 1 MB", id="too large"),
    ],
)
def test_a_file_that_the_endpoint_refuses(
    page: ShownPage, tmp_path: Path, name: str, content: bytes, title: str, what: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    page.choose(file)
    assert title in page.text("#failure h2")
    assert what in page.text("#failure-what")
    assert page.text("#failure-hint")
    assert "error" in json.loads(page.texts("#failure-json")[0])
    assert page.text("#result") == ""
    assert page.text("#again") == ""
    page.choose(write_picture(tmp_path / "good.png"))
    assert page.text("#failure") == ""
    assert len(page.boxes) == 3


def answer(status: int, body: str) -> tuple[str, dict[str, Any]]:
    encoded = base64.b64encode(body.encode()).decode()
    return "fulfillRequest", {"responseCode": status, "body": encoded}


BUSY = json.dumps({"error": "64 images are waiting already", "hint": "Try again later."})


HEADING = "<h1>Bad</h1>"
STRANGE = "is not one that this page understands"
OTHER = '{"predictions": [{"class_id": 1}]}'


@pytest.mark.parametrize(
    ("status", "body", "title", "text", "passing"),
    [
        pytest.param(503, BUSY, "cannot answer now", "64 images are waiting", True, id="busy"),
        pytest.param(502, HEADING, "behind its proxy", "HTTP 502", True, id="a proxy's page"),
        pytest.param(413, HEADING, "too large", "HTTP 413", False, id="a proxy's limit"),
        pytest.param(418, "[]", "an error, HTTP 418", "HTTP 418", False, id="any other status"),
        pytest.param(200, HEADING, STRANGE, HEADING, False, id="no JSON"),
        pytest.param(200, OTHER, STRANGE, "class_id", False, id="other JSON"),
    ],
)
def test_answers_of_all_kinds(
    page: ShownPage,
    browser: Browser,
    tmp_path: Path,
    status: int,
    body: str,
    title: str,
    text: str,
    passing: bool,
) -> None:
    file = write_picture(tmp_path / "cells.png")
    browser.intercept("/invocations", lambda event: answer(status, body))
    try:
        page.choose(file)
    finally:
        browser.let_through()
    assert title in page.text("#failure h2")
    assert text in " ".join(page.texts("#failure p, #failure-json"))
    assert "<h1>" not in page.text("#failure-what")
    assert page.text("#again") == ("Try again" if passing else "")
    if passing:
        browser.click("#again")
        browser.wait_until("document.querySelector('#result').checkVisibility()")
        page.wait_settled()
        assert len(page.boxes) == 3


def test_an_endpoint_that_has_gone(browser: Browser, tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_ready()
        page = ShownPage(browser, endpoint)
        endpoint.stop()
        page.choose(write_picture(tmp_path / "cells.png"))
        assert page.text("#failure h2") == "The endpoint does not answer"
        assert page.text("#again") == "Try again"

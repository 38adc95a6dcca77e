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
    ("name", "content", "status", "what"),
    [
        pytest.param("notes.txt", b"hello", 400, "is not an image", id="text"),
        pytest.param("half.jpg", PICTURE[:-40], 400, "cut short", id="half a JPEG"),
        pytest.param("empty.png", b"", 400, "the body of the request is", id="empty"),
        pytest.param("x.svg", SVG, 400, "not an image", id="the browser can show it"),
        pytest.param("large.png", bytes(2**20 + 1), 413, "than 1 MB", id="too large"),
    ],
)
def test_a_file_that_the_endpoint_refuses(
    page: ShownPage, tmp_path: Path, name: str, content: bytes, status: int, what: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    page.choose(file)
    assert page.text(".failure-title").startswith(f"HTTP {status}: ")
    assert what in page.text(".failure-title")
    assert page.text(".failure-hint")
    assert page.text(".answer") == page.text(".unshowable") == page.text(".again") == ""
    page.choose(write_picture(tmp_path / "good.png"))
    assert page.text(".failure") == ""
    assert len(page.boxes) == 4


def answer(status: int, body: str) -> tuple[str, dict[str, Any]]:
    encoded = base64.b64encode(body.encode()).decode()
    return "fulfillRequest", {"responseCode": status, "body": encoded}


BUSY = json.dumps({"error": "64 images are waiting already", "hint": "Try again later."})


HEADING = "<h1>Bad</h1>"
STRANGE = "This page cannot read the answer"
PROXY = "the endpoint failed, or a proxy before it"
OTHER = '{"predictions": [{"class_id": 1}]}'


@pytest.mark.parametrize(
    ("status", "body", "title", "text", "passing"),
    [
        pytest.param(
            503, BUSY, "HTTP 503: 64 images are waiting", "Try again later", True, id="busy"
        ),
        pytest.param(502, HEADING, f"HTTP 502: {PROXY}", "", True, id="a proxy's page"),
        pytest.param(413, HEADING, f"HTTP 413: {PROXY}", "", False, id="a proxy's limit"),
        pytest.param(418, "[]", f"HTTP 418: {PROXY}", "", False, id="any other status"),
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
    assert title in page.text(".failure h2")
    assert text in page.text(".failure-hint")
    assert page.texts(".failure h1") == []
    assert page.text(".again") == ("Try again" if passing else "")
    if passing:
        browser.click(".again")
        browser.wait_until("document.querySelector('.answer').checkVisibility()")
        assert len(page.boxes) == 4


def test_an_endpoint_that_has_gone(browser: Browser, tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_ready()
        page = ShownPage(browser, endpoint)
        endpoint.stop()
        page.choose(write_picture(tmp_path / "cells.png"))
        assert page.text(".failure h2") == "The endpoint does not answer."
        assert page.text(".again") == "Try again"

"""The time of an answer on the page, by the stages that the endpoint tells of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.devtools import Browser
from tests.functional.shown_page import ShownPage, write_picture


def test_the_stages_that_the_endpoint_tells_of(
    page: ShownPage, browser: Browser, tmp_path: Path
) -> None:
    timing = 'decode;dur=3.14, model;desc="the network";dur=98, cache'

    def handle(event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        own = [h for h in event["responseHeaders"] if h["name"].lower() != "server-timing"]
        headers = [*own, {"name": "Server-Timing", "value": timing}]
        return "continueResponse", {"responseCode": 200, "responseHeaders": headers}

    browser.intercept("/invocations", handle)
    try:
        page.choose(write_picture(tmp_path / "cells.png"))
    finally:
        browser.let_through()
    assert page.texts("#stages dt") == ["decode", "the network"]
    assert page.texts("#stages dd:not(.bar)") == ["3.1 ms", "98 ms"]


@pytest.mark.parametrize(
    ("header", "stages"),
    [
        pytest.param(None, [], id="none"),
        pytest.param("", [], id="empty"),
        pytest.param("a;dur=1.5,b;dur=2", [["a", 1.5], ["b", 2]], id="no spaces"),
        pytest.param(' a ; dur = "3" ', [["a", 3]], id="spaces and quotes"),
        pytest.param('a;desc="x, y; \\"z\\"";dur=1', [['x, y; "z"', 1]], id="separators in quotes"),
        pytest.param("a;DUR=1", [["a", 1]], id="case"),
        pytest.param("a, b;dur=x, c;dur=-1, ;dur=1", [], id="what has no name or duration"),
    ],
)
def test_server_timing_is_read(
    page: ShownPage, browser: Browser, header: str | None, stages: list[Any]
) -> None:
    argument = "null" if header is None else f"String.raw`{header}`"
    script = f"stagesOf({argument}).map(one => [one.name, one.milliseconds])"
    assert browser.evaluate(script) == stages

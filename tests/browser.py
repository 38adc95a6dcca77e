"""Pages as a browser lays them out, for tests."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest
from numpy.typing import NDArray

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

_NO_SCROLLBARS = "--hide-scrollbars"  # they would shift what is beside them
_HEAD = '<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">'

_MEASURE = """
addEventListener("load", () => {
  const frames = [...document.querySelectorAll("iframe")];
  const result = %s;
  const output = document.createElement("pre");
  output.textContent = JSON.stringify(result);
  document.body.replaceChildren(output);
});
"""

CLIPPED = """
  page => [...page.querySelectorAll("body *")].filter(element => {
    const box = element.getBoundingClientRect();
    const svg = element.localName === "text" && element.ownerSVGElement.getBoundingClientRect();
    return box.right > page.documentElement.clientWidth + 0.5 || box.left < -0.5
      || (svg && (box.right > svg.right + 1 || box.left < svg.left - 1))
      || (!svg && element.clientWidth && element.scrollWidth > element.clientWidth + 1);
  })
"""
"""A function of a document: its elements that are cut off or reach beyond the window."""

_BROKEN = r"""
  page => {
    const broken = [], walk = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const text = walk.currentNode.data;
      for (const { 0: number, index } of text.matchAll(/(?<!\S)[\d.,]*\d(?!\S)/g)) {
        const range = page.createRange();
        range.setStart(walk.currentNode, index);
        range.setEnd(walk.currentNode, index + number.length);
        if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) broken.push(number);
      }
    }
    return broken;
  }
"""

_LAYOUT = """
  frames.map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    for (const details of page.querySelectorAll("details")) details.open = true;
    const clipped = CLIPPED(page);
    return {
      width: root.clientWidth,
      scroll_width: root.scrollWidth,
      height: root.scrollHeight,
      broken: BROKEN(page),
      clipped: clipped.slice(0, 5).map(element => element.outerHTML.slice(0, 200)),
      requests: frame.contentWindow.performance.getEntriesByType("resource").length,
    };
  })
"""

_PLACES = """
  (page => ({
    height: page.documentElement.scrollHeight,
    places: [...page.querySelectorAll("[data-plot]")].map(element => {
      const box = element.getBoundingClientRect();
      return {
        plot: element.dataset.plot,
        top: Math.round(box.top), bottom: Math.round(box.bottom),
        left: Math.round(box.left), right: Math.round(box.right),
      };
    }).filter(place => place.bottom > place.top),
  }))(frames[0].contentDocument)
"""


def layouts(page: str, widths: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """How a page lies in windows of these widths, everything that folds unfolded.

    Skips the test when there is no Chromium.

    Returns:
        for each width: `width` and `scroll_width` of the window, `height` of the page, the first
        elements that are `clipped` or reach beyond the window, numbers that are `broken` over two
        lines, and how many `requests` it made.
    """
    frames = "".join(_frame(page, width, 900) for width in widths)
    script = _LAYOUT.replace("CLIPPED", f"({CLIPPED})").replace("BROKEN", f"({_BROKEN})")
    measured: list[dict[str, Any]] = _measure(frames, script, folder)
    return measured


def pictures(page: str, width: int, folder: Path) -> list[tuple[str, NDArray[Any]]]:
    """What each element with the attribute data-plot looks like in a window of this width.

    Skips the test when there is no Chromium.

    Returns:
        the attribute's value and the element's pixels, uint8 (h, w, 3), RGB.
    """
    measured = _measure(_frame(page, width, 900), _PLACES, folder, _NO_SCROLLBARS)
    file = folder / "picture.html"
    file.write_text(_HEAD + _frame(page, width, measured["height"]), encoding="utf-8")
    # A headless window is 500 pixels wide or more; the frame in it may be narrower.
    size = f"--window-size={max(500, width)},{measured['height']}"
    image = folder / "page.png"
    _run([size, _NO_SCROLLBARS, f"--screenshot={image}", file.as_uri()], folder)
    pixels = cv2.imread(str(image), cv2.IMREAD_COLOR_RGB)
    return [
        (one["plot"], pixels[one["top"] : one["bottom"], one["left"] : one["right"]])
        for one in measured["places"]
    ]


def _frame(page: str, width: int, height: int) -> str:
    style = f"width: {width}px; height: {height}px; border: 0"
    return f'<iframe style="{style}" srcdoc="{html.escape(page)}"></iframe>'


def _measure(frames: str, script: str, folder: Path, *options: str) -> Any:  # noqa: ANN401
    """What a script finds in frames, which it returns as JSON values."""
    file = folder / "frames.html"
    file.write_text(_HEAD + f"<script>{_MEASURE % script}</script>{frames}", encoding="utf-8")
    output = _run([*options, "--dump-dom", file.as_uri()], folder)
    found = re.search("<pre>(.*)</pre>", output, re.DOTALL)
    assert found, output[-2000:]
    return json.loads(html.unescape(found[1]))


def command(folder: Path) -> list[str]:
    """The command line that starts a headless browser. Skips the test when there is no Chromium."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser, one of {', '.join(BROWSERS)}")
    return [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
    ]


def _run(arguments: Sequence[str], folder: Path) -> str:
    run = subprocess.run(
        [*command(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(folder)},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout

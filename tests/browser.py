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

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

_MEASURE = """
addEventListener("load", () => {
  const result = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    for (const details of page.querySelectorAll("details")) details.open = true;
    const clipped = [...page.querySelectorAll("body *")].filter(element => {
      const box = element.getBoundingClientRect();
      return box.right > root.clientWidth + 0.5 || box.left < -0.5
        || (element.clientWidth && element.scrollWidth > element.clientWidth + 1);
    });
    return {
      width: root.clientWidth,
      scroll_width: root.scrollWidth,
      height: root.scrollHeight,
      clipped: clipped.slice(0, 5).map(element => element.outerHTML.slice(0, 200)),
      requests: frame.contentWindow.performance.getEntriesByType("resource").length,
    };
  });
  const output = document.createElement("pre");
  output.textContent = JSON.stringify(result);
  document.body.replaceChildren(output);
});
"""


def layouts(page: str, widths: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """How a page lies in windows of these widths, everything that folds unfolded.

    Skips the test when there is no Chromium.

    Returns:
        for each width: `width` and `scroll_width` of the window, `height` of the page, the first
        elements that are `clipped` or reach beyond the window, and how many `requests` it made.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser, one of {', '.join(BROWSERS)}")
    frames = "".join(
        f'<iframe width="{width}" height="900" style="border:0" srcdoc="{html.escape(page)}">'
        "</iframe>"
        for width in widths
    )
    file = folder / "frames.html"
    file.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><script>{_MEASURE}</script><body>{frames}',
        encoding="utf-8",
    )
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
    ]
    run = subprocess.run(
        [*command, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(folder)},
    )
    found = re.search("<pre>(.*)</pre>", run.stdout, re.DOTALL)
    assert found, run.stderr[-2000:]
    measured: list[dict[str, Any]] = json.loads(html.unescape(found[1]))
    return measured

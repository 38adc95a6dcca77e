"""The endpoint's page in a browser, as its user sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny_model
from tests.devtools import Browser
from tests.functional.endpoint_process import Endpoint

CELLS = {(0, 0): "red", (3, 2): "blue", (1, 3): "dim red"}
WEAK = (2, 1)
"""A cell that is so little red that its score is 0.38."""

_BOXES = """
[...document.querySelectorAll(".boxes .frame")].map(frame => {
  const picture = frame.closest(".stage").querySelector(".picture").getBoundingClientRect();
  const box = frame.querySelector(".line").getBoundingClientRect();
  return [
    (box.left - picture.left) / picture.width, (box.top - picture.top) / picture.height,
    (box.right - picture.left) / picture.width, (box.bottom - picture.top) / picture.height,
  ];
})
"""


class ShownPage:
    """What is on the page, and what a user does with it."""

    def __init__(self, browser: Browser, endpoint: Endpoint, width: int = 1280) -> None:
        self.browser = browser
        self.address = f"http://127.0.0.1:{endpoint.port}/"
        browser.open(self.address, width)

    def choose(self, *files: Path) -> None:
        """Send files and wait until there is an answer to each, or an error."""
        self.browser.choose_files(files, lambda: self.browser.click("label[for=file]"))
        self.wait_settled(len(files))

    def wait_settled(self, images: int = 1) -> None:
        self.browser.wait_until(
            f"document.querySelectorAll('.card').length === {images}"
            " && !document.querySelector('.card.waiting')"
        )

    def text(self, selector: str) -> str:
        """What can be read in the first such element; empty when it is not seen."""
        script = f"""(element => element?.checkVisibility() ? element.innerText : "")(
          document.querySelector({json.dumps(selector)}))"""
        found: str = self.browser.evaluate(script)
        return found

    def texts(self, selector: str) -> list[str]:
        script = f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
        found: list[str] = self.browser.evaluate(script)
        return found

    @property
    def boxes(self) -> list[tuple[float, ...]]:
        """Corners of the boxes as they are seen, as shares of the picture as it is seen."""
        boxes = self.browser.evaluate(_BOXES)
        return sorted(tuple(round(corner, 2) for corner in box) for box in boxes)

    @property
    def answer(self) -> Any:  # noqa: ANN401
        return json.loads(self.texts(".json")[0])

    def set_threshold(self, value: float) -> None:
        """Move the slider as a finger does."""
        self.browser.evaluate(f"""(slider => {{
          slider.value = {value};
          slider.dispatchEvent(new Event("input", {{bubbles: true}}));
        }})(document.querySelector("#threshold"))""")


def caption(name: str, width: int, height: int) -> str:
    return f"{name}, {width} \N{MULTIPLICATION SIGN} {height} px"


def cell_box(*cell: int) -> tuple[float, ...]:
    column, row = cell
    return (column / 4, row / 4, (column + 1) / 4, (row + 1) / 4)


def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """CELLS and the weak one, uint8 (h, w, 3), RGB."""
    image = tiny_model.picture(CELLS)
    column, row = WEAK
    image[row * 120 : (row + 1) * 120, column * 160 : (column + 1) * 160, 0] = 110
    return image


def write_picture(path: Path) -> Path:
    path.write_bytes(tiny_model.encoded(picture(), path.suffix))
    return path

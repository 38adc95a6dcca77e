"""The page for everyone: by keyboard alone, for screen readers, in any window and color scheme."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagemaker_object_detection.model import artifact
from tests import tiny_model
from tests.browser import CLIPPED
from tests.devtools import Browser
from tests.functional.endpoint_process import Endpoint, running
from tests.functional.shown_page import ShownPage, cell_box, write_picture

LONG = "a_very_long_name_without_any_place_to_break_it_" * 3

_FOCUSED = """
(element => {
  const ringed = element.matches(".unseen") ? element.nextElementSibling : element;
  const style = getComputedStyle(ringed);
  return {
    what: element.id || element.className || element.localName,
    ring: style.outlineStyle === "none" ? 0 : Number.parseFloat(style.outlineWidth),
    seen: ringed.checkVisibility(),
  };
})(document.activeElement)
"""

# Contrast as WCAG has it, between the colour of each element that has a text of its own and what
# lies behind it.
_CONTRASTS = """
(() => {
  const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b]
    .map(one => one / 255 <= 0.04045 ? one / 3294.6 : ((one / 255 + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, k) => sum + one * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const texts = [...document.querySelectorAll("main *")].filter(element =>
    element.checkVisibility() && !element.closest("svg")
    && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  return texts.map(one =>
    [one.outerHTML.slice(0, 80), contrast(rgba(getComputedStyle(one).color), behind(one))]);
})()
"""


@pytest.fixture(scope="module")
def crowded(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A model with names that are hard to place."""
    base = tmp_path_factory.mktemp("ml")
    tiny_model.write(base / "model")
    names = (LONG, "weiße Zelle 白血球 " * 4, *(f"class {number}" for number in range(98)))
    artifact.write_config(base / "model", artifact.ModelConfig(names, tiny_model.SIDE, "tiny"))
    with running(base) as endpoint:
        endpoint.wait_ready()
        yield endpoint


def focus_on(browser: Browser, what: str, *, shift: bool = False) -> None:
    """Press Tab until an element has the focus; each one on the way shows that it has it."""
    for _ in range(40):
        browser.press("Tab", shift=shift)
        focused = browser.evaluate(_FOCUSED)
        assert focused["seen"], focused
        assert focused["ring"] >= 2, focused
        if focused["what"] == what:
            return
    raise AssertionError(f"{what} is not reached")


def test_by_keyboard_alone(browser: Browser, page_endpoint: Endpoint, tmp_path: Path) -> None:
    page = ShownPage(browser, page_endpoint)
    focus_on(browser, "summary")
    browser.press("Enter")
    assert page.text("#knows ul").split() == ["red", "blue"]
    focus_on(browser, "file")
    file = write_picture(tmp_path / "cells.png")
    browser.choose_files([file], lambda: browser.press("Enter"))
    page.wait_settled()
    assert len(page.boxes) == 4

    focus_on(browser, "threshold")
    browser.press("ArrowLeft", times=5)
    assert page.text("output") == "0.15"
    browser.press("Home")
    assert page.text("output") == "0.00"
    browser.press("End")
    assert page.boxes == []
    browser.press("ArrowLeft", times=50)

    focus_on(browser, "class-0")
    browser.press(" ")
    assert page.boxes == [cell_box(3, 2)]
    browser.press(" ")
    assert len(page.boxes) == 3
    focus_on(browser, "none")
    browser.press("Enter")
    assert page.boxes == []
    focus_on(browser, "all", shift=True)
    browser.press("Enter")
    assert len(page.boxes) == 3

    focus_on(browser, "row")
    worst_first = page.texts(".label text")
    assert page.texts(".label.picked text") == worst_first[2:]
    browser.press("Tab")
    assert page.texts(".label.picked text") == worst_first[1:2]
    focus_on(browser, "summary")
    assert page.texts(".picked") == []
    browser.press("Enter")
    focus_on(browser, "json")
    focus_on(browser, "copy-json button", shift=True)
    browser.press(" ")
    assert page.text("#status") == "JSON copied."
    focus_on(browser, "copy-curl button")


def test_what_can_be_used_has_a_name(
    browser: Browser, page_endpoint: Endpoint, tmp_path: Path
) -> None:
    page = ShownPage(browser, page_endpoint)
    page.choose(write_picture(tmp_path / "cells.png"))
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            named.setdefault(node["role"]["value"], []).append(
                node.get("name", {}).get("value", "")
            )
    assert named["slider"] == ["Scores above"]
    assert named["checkbox"] == ["red 3", "blue 1"]
    assert "Classes" in named["group"]
    assert named["image"][-1] == "cells.png"
    titles = {"Object detection", "Show", "Detections 4 of 4"}
    assert titles <= set(named["heading"])
    assert [name for name in named["button"] if name.startswith("Choose images")]
    assert {"Save PNG", "Copy JSON", "Copy as curl"} <= set(named["button"])
    assert {"Show", "cells.png"} <= set(named["region"])
    for role in ("button", "checkbox", "slider", "image", "region"):
        assert all(named[role]), (role, named[role])
    assert len(named["status"]) == 1


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(
    browser: Browser, crowded: Endpoint, tmp_path: Path, width: int
) -> None:
    page = ShownPage(browser, crowded, width)
    browser.evaluate("document.querySelector('#knows').open = true")

    seen = "element => !element.matches('.unseen')"
    beginning = "element => element.outerHTML.slice(0, 200)"

    def check() -> None:
        assert browser.evaluate(f"({CLIPPED})(document).filter({seen}).map({beginning})") == []
        root = "document.documentElement"
        assert browser.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")

    check()
    page.choose(write_picture(tmp_path / f"{LONG[:200]}.png"))
    assert len(page.boxes) == 4
    browser.evaluate("document.querySelector('.answer details').open = true")
    check()
    page.choose(*(write_picture(tmp_path / f"{k}.png") for k in range(3)))
    check()
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8" + b"x" * 300)
    page.choose(broken)
    check()


_SEEN_LABELS = """
[...document.querySelectorAll(".label")]
  .filter(label => label.checkVisibility({visibilityProperty: true}))
  .map(label => {
    const { left, top, right, bottom } = label.getBoundingClientRect();
    return [left, top, right, bottom];
  })
"""


def test_labels_do_not_cover_each_other(
    browser: Browser, crowded: Endpoint, tmp_path: Path
) -> None:
    page = ShownPage(browser, crowded, 390)
    everywhere = {(column, row): "red" for column in range(4) for row in range(4)}
    file = tmp_path / "everywhere.png"
    file.write_bytes(tiny_model.encoded(tiny_model.picture(everywhere)))
    page.choose(file)
    labels = browser.evaluate(_SEEN_LABELS)
    assert len(page.boxes) == 16
    assert 4 <= len(labels) < 16
    for one, other in itertools.combinations(labels, 2):
        apart = max(one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3])
        assert apart >= -0.5
    # Labels lie in the order of the list, turned round.
    script = (
        "[...document.querySelectorAll('.label')].reverse().map(e => e.matches('[visibility]'))"
    )
    first_hidden = browser.evaluate(script).index(True)
    browser.point_at(f".found li:nth-child({first_hidden + 1}) .row")
    assert len(browser.evaluate(_SEEN_LABELS)) == len(labels) + 1


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read(
    browser: Browser, page_endpoint: Endpoint, tmp_path: Path, dark: bool
) -> None:
    page = ShownPage(browser, page_endpoint)
    browser.open(page.address, dark=dark)
    page.choose(write_picture(tmp_path / "cells.png"))
    contrasts = browser.evaluate(_CONTRASTS)
    assert len(contrasts) > 30
    assert [one for one in contrasts if one[1] < 4.5] == []
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"x")
    page.choose(broken)
    assert [one for one in browser.evaluate(_CONTRASTS) if one[1] < 4.5] == []
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(18, 22, 27)" if dark else "rgb(246, 247, 249)")

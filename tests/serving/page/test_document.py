"""The page stands alone, fits its policy, and is packed with the program."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.colors import color_of, css
from sagemaker_object_detection.images import decode
from sagemaker_object_detection.serving.page.document import SAMPLE_CLASSES, SAMPLES, render
from sagemaker_object_detection.tools.demo_data import CLASS_NAMES, scene
from tests.html_page import Page

REPOSITORY = Path(__file__).parents[3]
PACKAGE = REPOSITORY / "src" / "sagemaker_object_detection"
FOLDER = PACKAGE / "serving" / "page"
SCENES = dict(zip(SAMPLES, (46, 34, 21), strict=True))
NUMBERS = ("no", "a", "two", "three")


def test_the_page_stands_alone() -> None:
    source = render(CLASS_NAMES, 0.2).html
    page = Page(source)
    given = [item for _, attributes in page.elements for item in attributes.items()]
    links = {value or "" for name, value in given if name in ("href", "src")}
    assert {link.partition(",")[0] for link in links} == {"data:", "data:image/jpeg;base64"}
    assert "url(" not in source
    assert "@import" not in source
    assert not [name for name, _ in given if name == "style" or name.startswith("on")]
    assert len(source) < 120_000


def test_the_policy_allows_what_is_in_the_page_and_nothing_else() -> None:
    document = render(["cat"], 0.2)
    policy = dict(part.split(" ", 1) for part in document.policy.split("; "))
    for tag in ("script", "style"):
        inline = re.findall(f"<{tag}>(.*?)</{tag}>", document.html, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()) for one in inline]
        assert policy.pop(f"{tag}-src") == " ".join(f"'sha256-{one.decode()}'" for one in hashes)
    assert policy == {
        "default-src": "'none'",
        "img-src": "blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }


def test_scripts_make_no_markup_of_texts() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\("
    (script,) = FOLDER.glob("*.js")
    assert not re.search(sinks, script.read_text())
    assert len(script.read_text().splitlines()) <= 250


@pytest.mark.parametrize(
    ("class_names", "words"),
    [
        pytest.param(["cat"], "The model knows 1 class cat", id="one"),
        pytest.param(["cat", "dog"], "The model knows 2 classes cat dog", id="two"),
        pytest.param(["<i>&amp;", "\"'"], "The model knows 2 classes <i>&amp; \"'", id="markup"),
    ],
)
def test_class_names(class_names: list[str], words: str) -> None:
    page = Page(render(class_names, 0.2).html)
    assert words in page.words
    assert not [tag for tag, _ in page.elements if tag == "i"]


@pytest.mark.parametrize(
    ("least_score", "words"),
    [(0.2, "other answers of the endpoint do: above 0.2."), (0.0, "above 0.")],
)
def test_the_least_score(least_score: float, words: str) -> None:
    assert words in Page(render(["cat"], least_score).html).words


def test_the_slider_starts_at_the_least_score() -> None:
    page = Page(render(["cat"], 0.35).html)
    assert [one["value"] for _, one in page.elements if one.get("id") == "threshold"] == ["0.35"]
    assert "0.35" in page.words


@pytest.mark.parametrize(
    ("class_names", "samples"),
    [
        pytest.param(["star", "cube", "ball"], 3, id="of the demo"),
        pytest.param(["ball", "cube"], 0, id="some of the demo"),
        pytest.param(["ball", "cube", "star", "cat"], 0, id="more than the demo"),
        pytest.param(["cat"], 0, id="others"),
    ],
)
def test_samples_are_for_models_of_the_demo(class_names: list[str], samples: int) -> None:
    assert set(CLASS_NAMES) == SAMPLE_CLASSES
    page = Page(render(class_names, 0.2).html)
    assert page.count("button", "thumb") == samples
    assert ("sample" in page.words) == bool(samples)


def test_facts_of_the_model() -> None:
    page = Page(render(["cat"], 0.2, {"Model": "/opt/<b>/model", "Engine": "MXNet"}).html)
    assert "Model /opt/<b>/model Engine MXNet" in page.words
    assert 'id="facts"' not in render(["cat"], 0.2).html


def test_classes_have_the_colors_of_annotated_images() -> None:
    source = render(["cat", "dog"], 0.2).html
    for class_id in range(2):
        color = css(color_of(class_id))
        assert f".c{class_id} {{ --color: {color}; }}" in source
        assert f'data-color="{color}"' in source


@pytest.mark.parametrize("name", list(SAMPLES))
def test_samples_are_drawn_scenes(name: str) -> None:
    data = (FOLDER / name).read_bytes()
    assert len(data) < 20_000
    drawn = scene(2024, SCENES[name])
    difference = np.abs(decode(data).astype(np.int64) - drawn.image)
    assert difference.mean() < 8
    counts = np.bincount(drawn.class_ids, minlength=len(CLASS_NAMES))
    for count, class_name in zip(counts, CLASS_NAMES, strict=True):
        assert f"{NUMBERS[count]} {class_name}{'s' if count > 1 else ''}" in SAMPLES[name]


def test_all_files_are_packed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["sagemaker_object_detection"]
    files = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len(files) >= 10
    assert [file for file in files if not any(fnmatch(file, one) for one in patterns)] == []

"""Files of a channel, and which of them a reference means: never one outside of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data.listing import Listing, is_image

RESOLVED = [
    pytest.param("a.jpg s/a.jpg", "a.jpg", "a.jpg", id="its own name"),
    pytest.param("a.jpg s/a.jpg", "s/a.jpg", "s/a.jpg", id="its own path"),
    pytest.param("s/t/a.jpg", "a.jpg", "s/t/a.jpg", id="base name of a file in a sub-folder"),
    pytest.param("s/t/a.jpg", "t/a.jpg", "s/t/a.jpg", id="end of a path"),
    pytest.param("a.jpg", "train2017/a.jpg", "a.jpg", id="a folder that the channel is without"),
    pytest.param("t/a.jpg a.jpg", "x/t/a.jpg", "t/a.jpg", id="the longest end counts"),
    pytest.param("t/a.jpg", "s3://bucket/some/t/a.jpg", "t/a.jpg", id="S3 URI"),
    pytest.param("t/a.jpg", "/home/me/t/a.jpg", "t/a.jpg", id="a path of another machine"),
    pytest.param("t/a.jpg", "C:\\data\\t\\a.jpg", "t/a.jpg", id="a path of Windows"),
    pytest.param("t\\a.jpg a.jpg", "t\\a.jpg", "t\\a.jpg", id="a backslash in a name"),
    pytest.param("t/a.jpg", "./t//a.jpg", "t/a.jpg", id="parts that say nothing"),
    pytest.param("a.jpg", "../../etc/a.jpg", "a.jpg", id="parts that lead out count for nothing"),
    pytest.param("passwd.jpg", "../../etc/passwd", "", id="a file outside"),
    pytest.param("passwd.jpg", "/etc/passwd", "", id="a file outside, absolute"),
    pytest.param("s/a.jpg t/a.jpg", "a.jpg", "s/a.jpg t/a.jpg", id="several of that name"),
    pytest.param("x/s/a.jpg y/s/a.jpg z/t/a.jpg", "t/a.jpg", "z/t/a.jpg", id="one with that end"),
    pytest.param("s/a.jpg", "t/a.jpg", "s/a.jpg", id="the only file of that name"),
    pytest.param("s/a.jpg u/a.jpg", "t/a.jpg", "s/a.jpg u/a.jpg", id="one of two of that name"),
    pytest.param(
        "s/u/a.jpg t/u/a.jpg", "x/t/u/a.jpg", "t/u/a.jpg", id="the longest common ending counts"
    ),
    pytest.param("a+ä.jpg", "a%2B%C3%A4.jpg", "a+ä.jpg", id="percent-encoded"),
    pytest.param("a%20b.jpg a-b.jpg", "a%20b.jpg", "a%20b.jpg", id="a name with a percent sign"),
    pytest.param("a.jpg", "https://host/a.jpg?width=3", "a.jpg", id="a URL with a query"),
    pytest.param("a?b.jpg", "t/a?b.jpg", "a?b.jpg", id="a name with a question mark"),
    pytest.param("s/ba.jpg", "a.jpg", "", id="whole names only"),
    pytest.param("A.jpg", "a.jpg", "", id="letters as they are"),
    pytest.param("s/a\u0308.jpg", "\xe4.jpg", "s/a\u0308.jpg", id="letters composed otherwise"),
    pytest.param("a.jpg", "", "", id="empty"),
    pytest.param("a.jpg", "/", "", id="the root"),
    pytest.param("a.jpg", "..", "", id="the parent"),
    pytest.param("a.jpg", "\x00", "", id="NUL"),
    pytest.param("a.jpg", "\ud800", "", id="half a character"),
    pytest.param("", "a.jpg", "", id="nothing there"),
    pytest.param("a.jpg", "x/" * 100_000 + "a.jpg", "a.jpg", id="very long"),
]


@pytest.mark.parametrize(("names", "reference", "found"), RESOLVED)
def test_references(names: str, reference: str, found: str) -> None:
    listing = Listing(Path("/channel"), names.split())
    assert [listing.names[one] for one in listing.resolve(reference)] == found.split()


@given(st.lists(st.text("ab/.", min_size=1, max_size=5), max_size=6), st.text("ab/.\\", max_size=9))
def test_only_files_that_are_there_are_found(names: list[str], reference: str) -> None:
    listing = Listing(Path("/channel"), names)
    parts = [part for part in reference.replace("\\", "/").split("/") if part not in ("", ".")]
    for one in listing.resolve(reference):
        assert listing.names[one].split("/")[-1] in (parts[-1], reference.rpartition("/")[2])


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.jpg", "s/a.PNG", "s/c.json", ".hidden.jpg", ".git/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(Listing.of(tmp_path).names) == ["b.jpg", "s/a.PNG", "s/c.json"]
    listing = Listing.of(tmp_path, {".jpg", ".png"})
    assert list(listing.names) == ["b.jpg", "s/a.PNG"]
    assert len(listing) == 2
    assert listing.path(1) == tmp_path / "s" / "a.PNG"


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("s/a.JPG", True, "in any case"),
        ("a.b.webp", True, "the last suffix counts"),
        ("jpg", False, "a name without suffix"),
        ("a.jpg/notes", False, "the suffix of a folder"),
        ("a.jpg.txt", False, "the last suffix counts"),
    ],
)
def test_images_by_their_suffix(name: str, image: bool, reason: str) -> None:
    assert is_image(name) == image, reason

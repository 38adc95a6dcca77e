"""Names of the classes: which of the places counts, and what is not believed."""

from __future__ import annotations

import logging
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from sagemaker_object_detection.data.class_names import (
    CLASSES_FILE,
    FoundNames,
    class_names,
    found_names,
)
from sagemaker_object_detection.platform.errors import ClientError

FOUND = {0: {"dog"}, 1: {"cat"}}
NUMBERED = ("class_0", "class_1")


@pytest.mark.parametrize(
    ("file", "found", "expected", "warning", "reason"),
    [
        (b"red\nblue\n", FOUND, ("red", "blue"), "", "the file counts before the annotations"),
        (b"\xef\xbb\xbfred\r\n\r\n  blue  ", {}, ("red", "blue"), "", "as editors on Windows save"),
        (b"sea lion\nred\n", {}, ("sea lion", "red"), "", "a name may have spaces"),
        ("röt\n青\n".encode(), {}, ("röt", "青"), "", "UTF-8"),
        (b"red\n", FOUND, ("dog", "cat"), "1 different names, num_classes is 2", "too few"),
        (b"a\nb\nc\n", {}, NUMBERED, "3 different names, num_classes is 2", "too many"),
        (b"red\nred\n", {}, NUMBERED, "1 different names", "a name for two classes"),
        (b"", FOUND, ("dog", "cat"), "0 different names", "an empty file"),
        (None, FOUND, ("dog", "cat"), "", "no file"),
        (None, {}, NUMBERED, "", "nothing names them"),
        (None, {1: {"cat"}}, ("class_0", "cat"), "", "some named"),
        (
            None,
            {0: {"dog", "hound"}, 1: {"cat"}},
            ("class_0", "cat"),
            "class_id 0 by different",
            "torn",
        ),
        (None, {0: {"dog"}, 1: {"dog"}}, NUMBERED, "one name to several", "would be ambiguous"),
        (None, {0: {"dog"}, 7: {"dog"}}, ("dog", "class_1"), "", "class 7 does not exist"),
        (None, {0: {"class_1"}}, NUMBERED, "one name to several", "clashes with a made-up name"),
        (None, {0: {""}, 1: {"cat"}}, ("class_0", "cat"), "", "an empty name is none"),
    ],
)
def test_class_names(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    file: bytes | None,
    found: dict[int, Set[str]],
    expected: tuple[str, ...],
    warning: str,
    reason: str,
) -> None:
    if file is not None:
        (tmp_path / CLASSES_FILE).write_bytes(file)
    with caplog.at_level(logging.WARNING):
        assert class_names((), {}, [tmp_path / "none", tmp_path], found, 2) == expected, reason
    assert warning in caplog.text, reason
    assert bool(caplog.records) == bool(warning), reason


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / CLASSES_FILE).write_bytes("röt\nblau\n".encode("latin-1"))
    with pytest.raises(ClientError, match=r"classes\.txt: byte 1 is not UTF-8 text\. Save the"):
        class_names((), {}, [tmp_path], {}, 2)


@pytest.mark.parametrize(
    ("given", "listed", "expected", "reason"),
    [
        (("a", "b"), {"train": ("x", "y")}, ("a", "b"), "the hyperparameter counts before all"),
        ((), {"train": ("x", "y")}, ("x", "y"), "COCO counts before classes.txt"),
        ((), {"train": ("x", "y"), "validation": ("x", "y")}, ("x", "y"), "they agree"),
        ((), {"validation": ("x", "y")}, ("x", "y"), "train may come in another form"),
        ((), {}, ("red", "blue"), "classes.txt counts before the annotations"),
    ],
)
def test_which_place_counts(
    tmp_path: Path,
    given: tuple[str, ...],
    listed: dict[str, tuple[str, ...]],
    expected: tuple[str, ...],
    reason: str,
) -> None:
    (tmp_path / CLASSES_FILE).write_text("red\nblue\n")
    assert class_names(given, listed, [tmp_path], FOUND, 2) == expected, reason


def test_channels_must_number_their_classes_alike() -> None:
    """A class_id is a place in the list: with another list it would mean another class."""
    listed = {"train": ("cat", "dog"), "validation": ("dog", "cat")}
    with pytest.raises(ClientError, match=r"train: cat, dog; validation: dog, cat.*same list"):
        class_names(("a", "b"), listed, [], {}, 2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param(("dog", "cat"), True, id="another order: every answer would be wrong"),
        pytest.param(("cat", "dog"), False, id="the same"),
        pytest.param((), False, id="not given"),
    ],
)
def test_names_that_differ_from_the_categories_are_said(
    given: tuple[str, ...], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    listed = dict.fromkeys(("train", "validation"), ("cat", "dog"))
    assert class_names(given, listed, [], {}, 2) == (given or ("cat", "dog"))
    assert len(caplog.messages) == told
    assert not told or "class_names (dog, cat) renames the categories" in caplog.text


RENAMED = ("goes on from cat, dog", "by their ids alone")


@pytest.mark.parametrize(
    ("given", "found", "expected", "told", "reason"),
    [
        ((), {}, ("cat", "dog"), False, "nothing else names them"),
        ((), {1: {"dog"}}, ("cat", "dog"), False, "the annotations agree"),
        ((), {1: {"cow"}}, ("cat", "cow"), True, "an annotation counts before the model"),
        (("cat", "dog"), {}, ("cat", "dog"), False, "the same are given"),
        (("dog", "cat"), {}, ("dog", "cat"), True, "another order: every answer would be wrong"),
        ((), {0: {"dog"}}, ("cat", "dog"), False, "a name that the model has for another class"),
    ],
)
def test_names_of_the_model_that_training_goes_on_from(
    given: tuple[str, ...],
    found: dict[int, Set[str]],
    expected: tuple[str, ...],
    told: bool,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert class_names(given, {}, [], found, 2, ("cat", "dog")) == expected, reason
    assert all(part in caplog.text for part in RENAMED) == told, reason


def test_names_are_collected_from_all_channels_and_threads() -> None:
    channels = FoundNames(), FoundNames()
    with ThreadPoolExecutor(8) as pool:
        for number in range(400):
            pool.submit(channels[number % 2].add, {number % 3: f"name {number % 6}"})
    named = [SimpleNamespace(class_names=channel.so_far()) for channel in channels]
    assert channels[0].so_far() == {0: {"name 0"}, 1: {"name 4"}, 2: {"name 2"}}
    assert found_names(named) == {i: {f"name {i}", f"name {i + 3}"} for i in range(3)}


def test_collected_names_are_a_copy() -> None:
    names = FoundNames()
    names.add({0: "cat"})
    before = names.so_far()
    names.add({0: "dog", 1: "cow"})
    assert before == {0: {"cat"}}

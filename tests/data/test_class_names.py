"""Names of the classes: which of the places counts, and what is not believed."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sagemaker_object_detection.data.class_names import (
    CLASSES_FILE,
    AnnotatedNames,
    FoundNames,
    class_names,
)
from sagemaker_object_detection.platform.errors import ClientError

FOUND = {0: "dog", 1: "cat"}
NUMBERED = ("class_0", "class_1")
NONE = AnnotatedNames()


def annotated(*files: dict[int, str]) -> AnnotatedNames:
    """Names in the files 0.json, 1.json and so on, which annotate all classes that they list."""
    found = FoundNames()
    for index, names in enumerate(files):
        found.add(names, names, index, f"{index}.json")
    return found.so_far()


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
        (None, {1: "cat"}, ("class_0", "cat"), "", "some named"),
        (None, {0: "dog", 1: "dog"}, NUMBERED, "one name to several", "would be ambiguous"),
        (None, {0: "dog", 7: "dog"}, ("dog", "class_1"), "", "class 7 does not exist"),
        (None, {0: "class_1"}, NUMBERED, "one name to several", "clashes with a made-up name"),
        (None, {0: " ", 1: "cat"}, ("class_0", "cat"), "", "an empty name is none"),
    ],
)
def test_class_names(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    file: bytes | None,
    found: dict[int, str],
    expected: tuple[str, ...],
    warning: str,
    reason: str,
) -> None:
    if file is not None:
        (tmp_path / CLASSES_FILE).write_bytes(file)
    with caplog.at_level(logging.WARNING):
        assert (
            class_names((), {}, [tmp_path / "none", tmp_path], annotated(found), 2) == expected
        ), reason
    assert warning in caplog.text, reason
    assert bool(caplog.records) == bool(warning), reason


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / CLASSES_FILE).write_bytes("röt\nblau\n".encode("latin-1"))
    with pytest.raises(ClientError, match=r"classes\.txt: byte 1 is not UTF-8 text\. Save the"):
        class_names((), {}, [tmp_path], NONE, 2)


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
    assert class_names(given, listed, [tmp_path], NONE, 2) == expected, reason


def test_channels_must_number_their_classes_alike() -> None:
    """A class_id is a place in the list: with another list it would mean another class."""
    listed = {"train": ("cat", "dog"), "validation": ("dog", "cat")}
    with pytest.raises(
        ClientError, match=r"class_id 0 is 'cat' in .*'train' and 'dog' in .*'valid"
    ):
        class_names((), listed, [], NONE, 2)


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
    assert class_names(given, listed, [], NONE, 2) == (given or ("cat", "dog"))
    assert len(caplog.messages) == told
    assert not told or "class_names (dog, cat) renames the categories" in caplog.text


RENAMED = ("goes on from cat, dog", "by their ids alone")


@pytest.mark.parametrize(
    ("given", "found", "expected", "told", "reason"),
    [
        ((), {}, ("cat", "dog"), False, "nothing else names them"),
        ((), {1: "dog"}, ("cat", "dog"), False, "the annotations agree"),
        ((), {1: "cow"}, ("cat", "cow"), True, "an annotation counts before the model"),
        (("cat", "dog"), {}, ("cat", "dog"), False, "the same are given"),
        (("dog", "cat"), {}, ("dog", "cat"), True, "another order: every answer would be wrong"),
        ((), {0: "dog"}, ("cat", "dog"), False, "a name that the model has for another class"),
    ],
)
def test_names_of_the_model_that_training_goes_on_from(
    given: tuple[str, ...],
    found: dict[int, str],
    expected: tuple[str, ...],
    told: bool,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert class_names(given, {}, [], annotated(found), 2, ("cat", "dog")) == expected, reason
    assert all(part in caplog.text for part in RENAMED) == told, reason


@pytest.mark.parametrize(
    ("files", "message", "reason"),
    [
        (({0: "cat", 1: "dog"}, {1: "dog"}), "", "they agree"),
        (({0: "cat"}, {0: " cat "}), "", "the same without blanks"),
        (({0: "cat"}, {0: ""}), "", "an empty name is none"),
        (({0: "cat"}, {7: "cow"}, {7: "hen"}), "", "class 7 does not exist"),
        (
            ({0: "cat", 1: "dog"}, {1: "hen"}, {0: "cow"}, {0: "pig"}),
            "class_id 0 is 'cat' in 0.json and 'cow' in 2.json; "
            "class_id 1 is 'dog' in 0.json and 'hen' in 1.json. Number",
            "both names, the first two places",
        ),
    ],
)
def test_contradictions(files: tuple[dict[int, str], ...], message: str, reason: str) -> None:
    for channels in ([annotated(*files)], [annotated(*files[:1]), annotated({}, *files[1:])]):
        found = AnnotatedNames.merged(channels)
        assert class_names(("a", "b"), {}, [], found, 2) == ("a", "b")
        if not message:
            assert class_names((), {}, [], found, 2)[0] == "cat", reason
            continue
        with pytest.raises(
            ClientError, match=r"set class_names \(--classes of a command\)"
        ) as error:
            class_names((), {}, [], found, 2)
        assert message in str(error.value), reason


def test_many_contradictions_are_counted() -> None:
    found = annotated(dict.fromkeys(range(9), "a"), dict.fromkeys(range(9), "b"))
    with pytest.raises(ClientError, match=r"class_id 2 is .*1\.json; 6 more class ids\. Number"):
        class_names((), {}, [], found, 9)


def test_listed_categories_and_annotations_that_contradict() -> None:
    with pytest.raises(ClientError, match=r"'dog' in the categories of channel 'train' and 'cat'"):
        class_names((), {"train": ("dog", "cow")}, [], annotated({0: "cat"}), 2)


@pytest.mark.parametrize(
    ("listed", "class_ids", "fits", "reason"),
    [
        ({0: "cat", 1: "dog"}, [0, 1, 1], True, "all listed"),
        ({0: "cat", 1: "dog"}, [], True, "more listed than annotated"),
        ({}, [0, 1], True, "a file without categories says nothing"),
        ({1: "cat", 2: "dog"}, [1, 0], False, "numbered from 1"),
        ({1: "dog", 2: ""}, [2], True, "listed without a name"),
    ],
)
def test_lists_that_do_not_number_the_labels(
    listed: dict[int, str],
    class_ids: list[int],
    fits: bool,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One is enough: no names are used, not even those of contradicting files."""
    found = FoundNames()
    found.add(listed, class_ids, 5, "b.json")
    found.add({0: "cat"}, [0], 1, "a.json")
    if not fits:
        found.add({0: "cow"}, [0, 9], 7, "c.json")
    names = class_names((), {}, [], AnnotatedNames.merged([NONE, found.so_far()]), 2)
    assert (names == NUMBERED) != fits, reason
    assert [("categories" in m, "b.json annotates class_id 0" in m) for m in caplog.messages] == (
        [] if fits else [(True, True)]
    )
    caplog.clear()
    assert class_names(("x", "y"), {}, [], found.so_far(), 2) == ("x", "y")
    assert not caplog.messages


def test_names_are_collected_by_threads() -> None:
    channels = FoundNames(), FoundNames()
    with ThreadPoolExecutor(8) as pool:
        for number in reversed(range(400)):
            named = {number % 3: f"name {number % 6}"}
            pool.submit(channels[number % 2].add, named, [0, 1], number, f"file {number}")
    found = [channel.so_far() for channel in channels]
    assert dict(found[0].places) == {(i % 3, f"name {i}"): f"file {i}" for i in (0, 2, 4)}
    assert list(found[0].places.values()) == ["file 0", "file 2", "file 4"]
    assert found[0].misfit == "file 0 annotates class_id 1, which it does not list"
    merged = AnnotatedNames.merged(found)
    assert dict(merged.places) == {(i % 3, f"name {i}"): f"file {i}" for i in range(6)}
    assert merged.misfit == found[0].misfit

"""Which pictures are meant, and that what is made of them never meets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.pictures import JSON_ENDING, Pictures

TREE = ("a.jpg", "b.PNG", "notes.txt", "a.json", "sub/a.jpg", "sub/deep/c.webp", ".hidden/x.jpg")


def fill(folder: Path, *names: str) -> Path:
    for name in names or TREE:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return folder


def places(paths: list[Path], out: Path) -> list[str]:
    return [picture.place.as_posix() for picture in Pictures(paths, out)]


def test_one_folder_keeps_its_structure(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos")
    pictures = Pictures([folder], tmp_path / "out")
    assert len(pictures) == 4
    names = ["a.jpg", "b.PNG", "sub/a.jpg", "sub/deep/c.webp"]
    assert [picture.place.as_posix() for picture in pictures] == names
    assert [picture.file for picture in pictures] == [folder / name for name in names]


def test_several_get_a_name_each(tmp_path: Path) -> None:
    first = fill(tmp_path / "x" / "photos", "a.jpg")
    second = fill(tmp_path / "y" / "photos", "a.jpg")
    given = [first, second, first / "a.jpg", second / "a.jpg", second / "a.jpg"]
    assert places(given, tmp_path / "out") == [
        "photos/a.jpg",
        "photos-2/a.jpg",
        "a.jpg",
        "a-2.jpg",
        "a-3.jpg",
    ]


NAMES = [
    pytest.param(["p/A.jpg", "q/a.jpg"], ["A.jpg", "a-2.jpg"], id="only the case differs"),
    pytest.param(["p/a.jpg", "p/a.png"], ["a.jpg", "a.png"], id="only the suffix differs"),
    pytest.param(["p/a.gif", "p/a"], ["a.gif.png", "a.png"], id="no suffix that is written"),
    pytest.param(["p/a.gif", "p/a.gif.png"], ["a.gif.png", "a.gif-2.png"], id="a suffix added"),
    pytest.param(["p/a-2.jpg", "p/a.jpg", "q/a.jpg"], ["a-2.jpg", "a.jpg", "a-3.jpg"], id="number"),
]


@pytest.mark.parametrize(("files", "expected"), NAMES)
def test_names_of_files(files: list[str], expected: list[str], tmp_path: Path) -> None:
    fill(tmp_path, *files)
    found = places([tmp_path / file for file in files], tmp_path / "out")
    assert found == expected
    written = [name.casefold() for name in found]
    written += [name + JSON_ENDING for name in written]
    assert len(set(written)) == len(written)


def test_a_folder_named_as_the_json_of_a_picture(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a.jpg.json/b.jpg")
    found = places([tmp_path / "a.jpg", tmp_path / "a.jpg.json"], tmp_path / "out")
    assert found == ["a.jpg", "a.jpg-2.json/b.jpg"]


@pytest.mark.parametrize("given", [".", "..", "../sub"])
def test_folders_without_a_name(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "photos", "sub/a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path / "photos" / "sub")
    found = places([Path(given), Path("../b.jpg")], tmp_path / "out")
    assert all(not Path(place).is_absolute() and ".." not in place for place in found)
    assert found[0].split("/")[0] == Path(given).resolve().name


def test_what_is_in_the_output_folder_is_no_input(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "out/a.jpg", "out/sub/b.jpg", "outside/c.jpg")
    assert places([tmp_path], tmp_path / "out") == ["a.jpg", "outside/c.jpg"]


FAULTS = [
    pytest.param("nowhere", "nowhere does not exist. Give a picture", id="not there"),
    pytest.param("empty", "empty holds no pictures (.bmp, .jpeg,", id="no pictures"),
    pytest.param("fifo", "is neither a file nor a folder", id="a pipe"),
    pytest.param("out/a.jpg", "lies in the output folder", id="a file of the output"),
    pytest.param("out", "lies in the output folder", id="the output itself"),
]


@pytest.mark.parametrize(("given", "what"), FAULTS)
def test_faults(given: str, what: str, tmp_path: Path) -> None:
    fill(tmp_path, "out/a.jpg", "empty/notes.txt", "good.jpg")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ClientError) as caught:
        Pictures([tmp_path / "good.jpg", tmp_path / given], tmp_path / "out")
    assert what in str(caught.value)
    assert str(tmp_path / given) in str(caught.value)


def test_all_faults_come_together(tmp_path: Path) -> None:
    with pytest.raises(ClientError) as caught:
        Pictures([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert len(caught.value.faults) == 2

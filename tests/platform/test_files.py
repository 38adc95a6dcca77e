"""What lies in a channel's folder."""

import os
from pathlib import Path

import pytest

from sagemaker_object_detection.platform import files
from tests.data.memory import measured

REC = b"\x0a\x23\xd7\xce\x00\x00\x00\x00"
JPEG = b"\xff\xd8\xff\xe0"
PNG = b"\x89PNG\r\n\x1a\n"


def _write(folder: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("content", "forms"),
    [
        pytest.param({"train.rec": REC}, {"recordio"}, id="one .rec"),
        pytest.param({"a.rec": b""}, {"recordio"}, id="an empty .rec is still meant as one"),
        pytest.param({"A.REC": REC}, {"recordio"}, id="upper case"),
        pytest.param(
            {"train.rec": REC, "train.idx": b"", "train.lst": b""}, {"recordio"}, id="im2rec"
        ),
        pytest.param({"a.jpg": JPEG, "sub/b.PNG": PNG, "c.jpeg": JPEG}, {"image"}, id="images"),
        pytest.param({"a.jpg": b"no image"}, {"image"}, id="meant as an image: the gate will tell"),
        pytest.param({"a.jpg": JPEG, "train.rec": REC}, {"image", "recordio"}, id="both"),
        pytest.param({"data": REC}, {"recordio"}, id="no suffix, RecordIO inside"),
        pytest.param({"part-0": JPEG}, {"image"}, id="no suffix, JPEG inside"),
        pytest.param({"part-0": PNG}, {"image"}, id="no suffix, PNG inside"),
        pytest.param({"part-0": b"zzz", "part-1": REC}, {"recordio"}, id="the first that tells"),
        pytest.param({"a.json": JPEG}, set(), id="a suffix that says it is beside the data"),
        pytest.param({"part-0": b"zzz"}, set(), id="neither"),
        pytest.param({".hidden.jpg": JPEG, ".x/a.rec": REC}, set(), id="hidden files and folders"),
        pytest.param(
            {"a/b.jpg": JPEG, "lost+found/c.rec": REC, "a/lost+found/d.rec": REC},
            {"image"},
            id="what a disk check has found",
        ),
        pytest.param({}, set(), id="nothing"),
    ],
)
def test_forms(content: dict[str, bytes], forms: set[str], tmp_path: Path) -> None:
    _write(tmp_path, content)
    assert files.forms(tmp_path) == forms


@pytest.mark.parametrize(
    ("content", "form", "names"),
    [
        pytest.param(
            {"b.rec": REC, "a.rec": REC, "a.jpg": JPEG}, "recordio", ["a.rec", "b.rec"], id="sorted"
        ),
        pytest.param(
            {"z/a.jpg": JPEG, "b.png": PNG}, "image", ["b.png", "z/a.jpg"], id="sub-folders"
        ),
        pytest.param({"x": REC, "y": JPEG}, "recordio", ["x"], id="by content without a suffix"),
        pytest.param({"x": REC, "a.rec": REC}, "recordio", ["a.rec"], id="suffixes come first"),
        pytest.param({"a.txt": REC}, "recordio", [], id="none"),
    ],
)
def test_of_form(
    content: dict[str, bytes], form: files.Kind, names: list[str], tmp_path: Path
) -> None:
    _write(tmp_path, content)
    found = files.of_form(tmp_path, form)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == names


def test_a_linked_folder_is_read_and_a_loop_ends(tmp_path: Path) -> None:
    _write(tmp_path, {"elsewhere/a.jpg": JPEG, "channel/b.jpg": JPEG})
    channel = tmp_path / "channel"
    (channel / "linked").symlink_to(tmp_path / "elsewhere")
    (channel / "loop").symlink_to(channel)
    found = sorted(path.relative_to(channel).as_posix() for path in files.walk(channel))
    assert found == ["b.jpg", "linked/a.jpg"]


def test_a_link_to_nothing_is_a_file_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    assert sorted(path.name for path in files.walk(tmp_path)) == ["gone.jpg", "itself.jpg"]


def test_the_names_of_a_large_folder_are_not_held(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number:0100}.jpg").touch()
    count, _, peak = measured(lambda: sum(1 for _ in files.walk(tmp_path)))
    assert count == 2000
    assert peak < 2000 * 100


def test_content(tmp_path: Path) -> None:
    """Also of a file whose name is no text."""
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(JPEG)
    assert files.content(f"{tmp_path}/{name}") == JPEG
    with pytest.raises(FileNotFoundError) as error:
        files.content(f"{tmp_path}/gone.jpg")
    assert error.value.filename == f"{tmp_path}/gone.jpg"


def test_a_folder_that_vanishes_is_an_error_and_not_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(files.walk(tmp_path / "gone"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everywhere")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(PermissionError):
        list(files.walk(tmp_path))

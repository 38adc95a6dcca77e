"""What is written of many pictures, whatever becomes of some of them."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.images import decode, orientation
from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from sagemaker_object_detection.tools import annotating
from sagemaker_object_detection.tools.annotating import Tally, annotate
from sagemaker_object_detection.tools.drawing import draw_detections
from sagemaker_object_detection.tools.pictures import Pictures
from sagemaker_object_detection.tools.pixel_budget import PixelBudget
from sagemaker_object_detection.tools.predictions import Choice, PictureFailed, Prediction
from tests import tiny_model
from tests.orientation import stored, with_tag

PICTURE = tiny_model.picture({(0, 0): "red"}, 64, 48)
CAR = Prediction(class_id=1, class_name="car", score=0.9, bbox=(4, 3, 40, 30))
DOG = Prediction(class_id=2, class_name="dog", score=0.3, bbox=(0, 0, 10, 10))


class Fake:
    """A detector of cars and dogs."""

    def __init__(self, before: Callable[[str], None] = lambda _: None, parallel: int = 3) -> None:
        self.parallel = parallel
        self.before = before
        self.names: list[str] = []
        self.interrupted = threading.Event()

    def detect(self, data: bytes, name: str) -> Sequence[Prediction]:
        self.names.append(name)
        self.before(name)
        return [DOG, CAR]

    def interrupt(self) -> None:
        self.interrupted.set()


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(tiny_model.encoded(PICTURE, Path(name).suffix))
    return folder


def run(
    folder: Path, out: Path, detector: Fake, choice: Choice | None = None, overwrite: bool = False
) -> Tally:
    out.mkdir(exist_ok=True)
    pictures = Pictures([folder], out)
    return annotate(pictures, detector, choice or Choice(), PixelBudget(), out, overwrite)


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".jpg", ".jpeg", ".webp"])
def test_what_is_written(suffix: str, tmp_path: Path) -> None:
    name = f"sub/a{suffix}"
    folder = fill(tmp_path / "in", name)
    tally = run(folder, tmp_path / "out", Fake())
    assert files(tmp_path / "out") == [name, f"{name}.json"]
    assert json.loads((tmp_path / "out" / f"{name}.json").read_text()) == {
        "file": str(folder / name),
        "predictions": [
            {"class_id": 1, "class_name": "car", "score": 0.9, "bbox": [4, 3, 40, 30]},
            {"class_id": 2, "class_name": "dog", "score": 0.3, "bbox": [0, 0, 10, 10]},
        ],
    }
    drawn = decode((tmp_path / "out" / name).read_bytes())
    expected = draw_detections(
        decode((folder / name).read_bytes()),
        [CAR.bbox, DOG.bbox],
        [1, 2],
        [0.9, 0.3],
        {1: "car", 2: "dog"},
    )
    lossy = suffix in (".jpg", ".jpeg", ".webp")
    difference = np.abs(drawn.astype(int) - expected.astype(int))
    assert difference.mean() < (12 if lossy else 1e-9)
    assert (tally.done, dict(tally.found)) == (1, {"car": 1, "dog": 1})


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_tagged_image_is_drawn_as_it_is_displayed(suffix: str, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / f"a{suffix}").write_bytes(with_tag(tiny_model.encoded(stored(PICTURE, 6), suffix), 6))
    (folder / f"b{suffix}").write_bytes(tiny_model.encoded(PICTURE, suffix))
    run(folder, out, Fake())
    tagged, plain = ((out / f"{name}{suffix}").read_bytes() for name in "ab")
    assert orientation(tagged) == 1  # else viewers would turn it once more
    difference = np.abs(decode(tagged).astype(int) - decode(plain).astype(int))
    assert difference.mean() < 1


def test_only_what_is_wanted(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "a.png")
    tally = run(folder, tmp_path / "out", Fake(), Choice(0.2, ("dog",)))
    told = json.loads((tmp_path / "out" / "a.png.json").read_text())
    assert [one["class_name"] for one in told["predictions"]] == ["dog"]
    assert dict(tally.found) == {"dog": 1}
    assert tally.answered == {"car", "dog"}


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", os.fsdecode(b"\xff\n.png"))
    run(folder, tmp_path / "out", Fake())
    (told,) = [p for p in (tmp_path / "out").iterdir() if p.suffix == ".json"]
    assert os.fsencode(json.loads(told.read_text())["file"]).endswith(b"in/\xff\n.png")


def test_broken_pictures_among_good_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = fill(tmp_path / "in", *(f"{number}.png" for number in range(20)))
    (folder / "3.png").write_bytes(b"")
    (folder / "4.png").write_bytes((folder / "5.png").read_bytes()[:40])
    (folder / "6.png").unlink()
    os.mkfifo(folder / "6.png")
    (folder / "7.png").unlink()
    (folder / "7.png").symlink_to(tmp_path / "nowhere")
    (folder / "8.png").write_bytes(b"text")
    tally = run(folder, tmp_path / "out", Fake())
    assert (tally.done, tally.unusable, tally.failed) == (15, 5, 0)
    assert len(files(tmp_path / "out")) == 30
    for number, what in (
        (3, "is empty (0 bytes)"),
        (4, "begins as a PNG but cannot be decoded"),
        (6, "is no file"),
        (7, "cannot be read: No such file or directory"),
        (8, "is not an image"),
    ):
        (message,) = [m for m in caplog.messages if m.startswith(f"{folder}/{number}.png")]
        assert what in message


def test_a_file_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = fill(tmp_path / "in", "a.png")
    size = (folder / "a.png").stat().st_size
    monkeypatch.setattr(annotating, "MOST_BYTES", size)
    assert run(folder, tmp_path / "out", Fake()).done == 1
    monkeypatch.setattr(annotating, "MOST_BYTES", size - 1)
    assert run(folder, tmp_path / "other", Fake()).unusable == 1
    assert f"{folder}/a.png has {size} bytes, at most {size - 1} are read." in caplog.text
    assert files(tmp_path / "other") == []


def test_a_picture_that_its_form_cannot_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """WebP ends at 16383 pixels a side; a name may promise what the bytes are not."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.webp").write_bytes(tiny_model.encoded(np.zeros((4, 16400, 3), np.uint8)))
    assert run(folder, tmp_path / "out", Fake()).unusable == 1
    assert "16400 x 4 cannot be written as .webp. Make it smaller" in caplog.text
    assert files(tmp_path / "out") == []


def test_a_name_that_is_too_long(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = fill(tmp_path / "in", f"{'a' * 248}.png", "b.png")
    tally = run(folder, tmp_path / "out", Fake())
    assert (tally.done, tally.unusable) == (1, 1)
    assert "the name is too long" in caplog.text
    assert files(tmp_path / "out") == ["b.png", "b.png.json"]


def test_the_endpoint_fails_on_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def before(name: str) -> None:
        if name.endswith("3.png"):
            raise PictureFailed(f"{name}: answered 500")

    folder = fill(tmp_path / "in", *(f"{number}.png" for number in range(6)))
    tally = run(folder, tmp_path / "out", Fake(before))
    assert (tally.done, tally.unusable, tally.failed) == (5, 0, 1)
    assert "3.png: answered 500" in caplog.text


@pytest.mark.parametrize("error", [PlatformError("gone"), ClientError("no"), ValueError("ours")])
def test_what_ends_the_run(error: Exception, tmp_path: Path) -> None:
    def before(name: str) -> None:
        if name.endswith("05.png"):
            raise error

    folder = fill(tmp_path / "in", *(f"{number:02}.png" for number in range(60)))
    detector = Fake(before)
    with pytest.raises(type(error), match=str(error)):
        run(folder, tmp_path / "out", detector)
    assert detector.interrupted.is_set()
    assert len(detector.names) < 60
    written = files(tmp_path / "out")
    assert [name for name in written if name.endswith(".png")] == [
        name.removesuffix(".json") for name in written if name.endswith(".json")
    ]


def test_few_pictures_are_in_work_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of the pictures is gone through as they are done, several at a time."""
    together = threading.Barrier(3, timeout=20)
    taken: list[int] = []
    detector = Fake(lambda _: together.wait() and None, parallel=3)
    folder = fill(tmp_path / "in", *(f"{number:02}.png" for number in range(30)))
    pictures = iter(Pictures([folder], tmp_path / "out"))

    class Watched(Pictures):
        def __iter__(self):  # noqa: ANN204
            for number, picture in enumerate(pictures):
                taken.append(number - len(files(tmp_path / "out")) // 2)
                yield picture

    (tmp_path / "out").mkdir()
    watched = Watched([folder], tmp_path / "out")
    annotate(watched, detector, Choice(), PixelBudget(), tmp_path / "out")
    assert max(taken) <= 2 * detector.parallel
    assert len(detector.names) == 30


def test_nothing_is_written_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = fill(tmp_path / "in", "a.png", "b.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png.json").write_text("mine")
    tally = run(folder, out, Fake())
    assert (tally.done, tally.unusable) == (1, 1)
    assert "a.png.json is there already" in caplog.text
    assert (out / "a.png.json").read_text() == "mine"
    assert files(out) == ["a.png.json", "b.png", "b.png.json"]


def test_overwrite(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "a.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png.json").write_text("old")
    (out / "other").write_text("mine")
    assert run(folder, out, Fake(), overwrite=True).done == 1
    assert json.loads((out / "a.png.json").read_text())["predictions"]
    assert (out / "other").read_text() == "mine"


def test_nothing_is_written_beside_the_output(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = fill(tmp_path / "in", "sub/a.png", "link.png", "b.png")
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").write_text("theirs")
    (out / "sub").symlink_to(elsewhere)
    (out / "link.png").symlink_to(elsewhere / "file")
    tally = run(folder, out, Fake(), overwrite=True)
    assert (tally.done, tally.unusable) == (2, 1)
    assert "is a link that leads out of" in caplog.text
    assert files(elsewhere) == ["file"]
    assert (elsewhere / "file").read_text() == "theirs"
    assert not (out / "link.png").is_symlink()


def test_a_folder_where_a_file_has_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = fill(tmp_path / "in", "a.png", "a.png.json/b.png", "c.png")
    tally = run(folder, tmp_path / "out", Fake(parallel=1))
    assert (tally.done, tally.unusable) == (2, 1)
    assert "Give another" in caplog.text


def test_progress(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("sagemaker_object_detection.platform.progress.LINE_EVERY_SECONDS", 0)
    run(fill(tmp_path / "in", "a.png", "b.png"), tmp_path / "out", Fake())
    assert "Pictures annotated: 2 of 2 images" in caplog.text

"""Single images: which annotation belongs to which image, and what the pairs give."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.data.annotations import AnnotationError
from sagemaker_object_detection.data.sources.image_pairs import ImageSource, Pairs, json_pairs
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.memory import measured
from tests.data.samples import BOX, HEIGHT, WIDTH, Sample, plain, write_images


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, notes = tmp_path / "train", tmp_path / "train_annotation"
    images.mkdir()
    notes.mkdir()
    return images, notes


def touch(folder: Path, names: str) -> None:
    """Files, as annotations; `a.json:s/b.jpg` says that its file is s/b.jpg."""
    for name in names.split():
        path, _, said = name.partition(":")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps({"file": said} if said else {}))


def described(pairs: Pairs) -> tuple[list[str], list[str]]:
    """`image=annotation` of every pair, and the lonely images."""
    names = zip(pairs.image_names, pairs.note_names, strict=True)
    return [f"{image}={note}" for image, note in names], list(pairs.lonely)


PAIRED = [
    pytest.param("a.jpg", "a.json", "a.jpg=a.json", "", id="same name"),
    pytest.param(
        "b.png a.jpg c.jpeg d.JPG e.WebP f.bmp",
        "a.json d.JSON c.json b.json f.json e.json",
        "a.jpg=a.json b.png=b.json c.jpeg=c.json d.JPG=d.JSON e.WebP=e.json f.bmp=f.json",
        "",
        id="every suffix, in any case; ordered by image",
    ),
    pytest.param("s/a.jpg", "s/a.json", "s/a.jpg=s/a.json", "", id="the same sub-folder"),
    pytest.param(
        "s/a.jpg t/u/b.jpg",
        "a.json b.json",
        "s/a.jpg=a.json t/u/b.jpg=b.json",
        "",
        id="images in sub-folders, annotations flat",
    ),
    pytest.param("a.jpg", "s/a.json", "a.jpg=s/a.json", "", id="annotations in a sub-folder"),
    pytest.param(
        "s/a.jpg t/a.jpg",
        "s/a.json t/a.json",
        "s/a.jpg=s/a.json t/a.jpg=t/a.json",
        "",
        id="one name in two sub-folders",
    ),
    pytest.param(
        "a.jpg s/a.jpg", "a.json", "a.jpg=a.json", "s/a.jpg", id="the same place goes first"
    ),
    pytest.param(
        "2020.01.jpg 2020.02.jpg",
        "2020.01.json 2020.02.json",
        "2020.01.jpg=2020.01.json 2020.02.jpg=2020.02.json",
        "",
        id="dots in the name",
    ),
    pytest.param("a.jpg c.jpg b.jpg", "b.json", "b.jpg=b.json", "a.jpg c.jpg", id="lonely images"),
    pytest.param("a.jpg a.png", "", "", "a.jpg a.png", id="one name, but nothing to share"),
    pytest.param(
        "a.jpg .DS_Store", "a.json .a.json", "a.jpg=a.json", "", id="hidden files do not count"
    ),
    pytest.param(
        "a.jpg", "a.json README.md a.txt", "a.jpg=a.json", "", id="other files do not count"
    ),
    pytest.param("", "", "", "", id="nothing"),
    pytest.param(
        "s/a.jpg t/a.jpg",
        "1.json:s/a.jpg 2.json:t/a.jpg",
        "s/a.jpg=1.json t/a.jpg=2.json",
        "",
        id="no image has its name: its file decides",
    ),
    pytest.param(
        "s/a.jpg t/a.jpg",
        "a.json:t/a.jpg x/a.json:prefix/s/a.jpg",
        "s/a.jpg=x/a.json t/a.jpg=a.json",
        "",
        id="several images have its name: its file decides",
    ),
    pytest.param(
        "a.jpg a.png", "a.json:a.png", "a.png=a.json", "a.jpg", id="two images in one place"
    ),
    pytest.param(
        "a.jpg b.jpg", "a.json:b.jpg", "a.jpg=a.json", "b.jpg", id="the base name goes first"
    ),
    pytest.param(
        "t/a.jpg u/b.jpg",
        "a.json:u/b.jpg",
        "t/a.jpg=a.json",
        "u/b.jpg",
        id="the base name of a flat annotation goes first",
    ),
    pytest.param(
        "t/a.jpg t/b.jpg",
        "s/a.json:t/b.jpg t/a.json",
        "t/a.jpg=t/a.json t/b.jpg=s/a.json",
        "",
        id="in differing sub-folders its file goes first",
    ),
    pytest.param(
        "t/a.jpg",
        "json/a.json:your_image_directory/a.jpg",
        "t/a.jpg=json/a.json",
        "",
        id="a file in a folder that is nowhere",
    ),
    pytest.param("t/a.jpg", "json/a.json", "t/a.jpg=json/a.json", "", id="it says no file"),
    pytest.param(
        "a.jpg",
        "x.json:../../a.jpg",
        "a.jpg=x.json",
        "",
        id="a file outside of the channel is looked for inside",
    ),
]


PAIRED += [
    pytest.param(
        f"{unicodedata.normalize(there, 's/fenêtre')}.jpg",
        f"{unicodedata.normalize(said, 'fenêtre')}.json",
        f"{unicodedata.normalize(there, 's/fenêtre')}.jpg"
        f"={unicodedata.normalize(said, 'fenêtre')}.json",
        "",
        id=f"letters with marks, {there} and {said}",
    )
    for there, said in (("NFC", "NFD"), ("NFD", "NFC"))
]


@pytest.mark.parametrize(("images", "notes", "pairs", "lonely"), PAIRED)
def test_pairing(
    folders: tuple[Path, Path], images: str, notes: str, pairs: str, lonely: str
) -> None:
    touch(folders[0], images)
    touch(folders[1], notes)
    found = json_pairs(*folders)
    assert described(found) == (pairs.split(), sorted(lonely.split()))
    for index, pair in enumerate(pairs.split()):
        image, note = pair.split("=")
        assert found.image(index) == str(folders[0] / image)
        assert found.note(index) == str(folders[1] / note)


UNPAIRED = [
    pytest.param(
        "t/a.jpg",
        "s/a.json:s/a.jpg",
        "there is no image a (.bmp, .jpeg, .jpg, .png, .webp) in",
        id="mirrored folders: the other folder's image is not meant",
    ),
    pytest.param(
        "b.jpg", "a.json:s/a.jpg", "nor the \"file\" it names, 's/a.jpg'.", id="its file is missing"
    ),
    pytest.param(
        "s/a.jpg t/a.jpg",
        "a.json:u/b.jpg",
        "a.json: several images have that name: s/a.jpg, t/a.jpg.",
        id="its file is none of them",
    ),
    pytest.param(
        "s/a.jpg t/a.jpg",
        "a.json:a.jpg",
        "several images have that name",
        id="its file is as vague",
    ),
    pytest.param(
        "s/a.jpg b.jpg",
        "b.json 1.json:b.jpg",
        "1.json: the image",
        id="its file has an annotation of its name",
    ),
    pytest.param(
        "b.jpg", "a.json:/etc/passwd", "a.json: there is no image a (", id="a file that leads out"
    ),
    pytest.param("b.jpg", "a.json:\x00", "a.json: there is no image a (", id="a file called NUL"),
    pytest.param(
        "a.jpg", "a.json b.json", "b.json: there is no image b (", id="annotation without image"
    ),
    pytest.param(
        "b.jpg", "a.json b.json", "a.json: there is no image a (", id="whatever the order"
    ),
    pytest.param(
        "a.jpg a.png",
        "a.json",
        "a.json: several images have that name: a.jpg, a.png.",
        id="two images of one name",
    ),
    pytest.param(
        "s/a.jpg t/a.jpg",
        "a.json",
        "a.json: several images have that name: s/a.jpg, t/a.jpg.",
        id="a flat annotation of two images",
    ),
    pytest.param(
        "s/a.jpg",
        "s/a.json a.json",
        "/a.json: the image",
        id="annotated twice, the flat one is odd",
    ),
    pytest.param(
        "t/a.jpg",
        "s/a.json t/a.json",
        "s/a.json: the image",
        id="annotated twice, the other folder's is odd",
    ),
]


@pytest.mark.parametrize(("images", "notes", "fault"), UNPAIRED)
def test_pairing_is_refused(
    folders: tuple[Path, Path], images: str, notes: str, fault: str
) -> None:
    touch(folders[0], images)
    touch(folders[1], notes)
    with pytest.raises(ClientError) as caught:
        json_pairs(*folders)
    heading, line, *others = str(caught.value).splitlines()
    assert heading == "Annotations and images of train do not match (1 in all):"
    assert line.startswith(str(folders[1]))
    assert fault in line
    assert others == []


def test_ten_offenders_are_listed(folders: tuple[Path, Path]) -> None:
    touch(folders[1], " ".join(f"{number:02}.json" for number in range(13)))
    with pytest.raises(ClientError) as caught:
        json_pairs(*folders)
    heading, *lines = str(caught.value).splitlines()
    assert "(13 in all)" in heading
    assert [line.split(": ")[0] for line in lines[:10]] == [
        str(folders[1] / f"{number:02}.json") for number in range(10)
    ]
    assert lines[10:] == ["... and 3 more."]


def test_unreadable_annotation_of_a_doubtful_pair(folders: tuple[Path, Path]) -> None:
    touch(folders[0], "s/a.jpg t/a.jpg")
    (folders[1] / "a.json").write_text("{")
    with pytest.raises(ClientError, match=r"a\.json, line 1, column 2: not valid JSON"):
        json_pairs(*folders)


@pytest.mark.parametrize("target", ["nowhere.json", "a.json"], ids=["to nothing", "to itself"])
def test_a_doubtful_annotation_that_is_a_link_to_nothing(
    target: str, folders: tuple[Path, Path]
) -> None:
    touch(folders[0], "s/a.jpg t/a.jpg")
    (folders[1] / "a.json").symlink_to(target)
    with pytest.raises(ClientError, match=r"a\.json is a link to nothing"):
        json_pairs(*folders)


def test_names_that_are_not_text(folders: tuple[Path, Path]) -> None:
    """A file system holds bytes: what was Latin-1 elsewhere is paired and read all the same."""
    images, notes = folders
    write_images(images, notes, [Sample()])
    name = os.fsdecode(b"caf\xe9")
    (images / "0000.png").rename(images / f"{name}.png")
    (notes / "0000.json").rename(notes / f"{name}.json")
    source = ImageSource(json_pairs(images, notes))
    assert source.read(0).class_ids.tolist() == [0]
    assert source.name(0) == f"{images}/{name}.png"


def test_images_that_only_their_content_tells(folders: tuple[Path, Path]) -> None:
    images, notes = folders
    write_images(images, notes, [Sample(), Sample()])
    for path in list(images.iterdir()):
        path.rename(path.with_suffix(""))
    (images / "readme").write_text("not an image")
    assert described(json_pairs(images, notes))[0] == ["0000=0000.json", "0001=0001.json"]


def test_lonely_images_are_named_in_full(folders: tuple[Path, Path]) -> None:
    touch(folders[0], "s/a.jpg b.jpg")
    touch(folders[1], "b.json")
    assert ImageSource(json_pairs(*folders)).unannotated == (str(folders[0] / "s" / "a.jpg"),)


def test_pairs_take_little_memory(folders: tuple[Path, Path]) -> None:
    """Once built, 200 bytes each at most."""
    images, notes = folders
    count = 1000
    for number in range(count):
        (images / f"image_{number:010}.jpg").touch()
        (notes / f"image_{number:010}.json").touch()
    pairs, size, _ = measured(lambda: json_pairs(images, notes))
    assert len(pairs) == count
    assert size < 200 * count + 2**14


def test_images_with_annotations(folders: tuple[Path, Path]) -> None:
    images, notes = folders
    boxes = [BOX, (0, 0, 1, 1)]
    write_images(images, notes, [Sample(plain((9, 0, 0)), boxes, [3, 1])])
    source = ImageSource(json_pairs(images, notes))
    assert len(source) == 1
    assert source.name(0) == str(images / "0000.png")
    record = source.read(0)
    assert record.declared_size == (WIDTH, HEIGHT)
    np.testing.assert_allclose(record.boxes, [(16, 12, 48, 24), (0, 0, WIDTH, HEIGHT)])
    assert record.class_ids.tolist() == [3, 1]
    assert record.difficult.tolist() == [False, False]
    assert record.image == source.read_image(0) == plain((9, 0, 0))


def test_class_names_are_collected(folders: tuple[Path, Path]) -> None:
    images, notes = folders
    for name, categories in {
        "a": [{"class_id": 0, "name": "dog"}, {"class_id": 1, "name": "cat"}],
        "b": [{"class_id": 0, "name": "hound"}],
        "c": None,
    }.items():
        (images / f"{name}.png").write_bytes(plain((0, 0, 0)))
        note = Sample().annotation() | {"categories": categories}
        (notes / f"{name}.json").write_text(json.dumps(note))
    source = ImageSource(json_pairs(images, notes))
    for index in range(3):
        source.read(index)
    assert set(source.found_names.places) == {(0, "dog"), (0, "hound"), (1, "cat")}


def test_unreadable_annotation_names_its_file(folders: tuple[Path, Path]) -> None:
    images, notes = folders
    write_images(images, notes, [Sample()])
    (notes / "0000.json").write_text('{"image_size": [}')
    source = ImageSource(json_pairs(images, notes))
    with pytest.raises(AnnotationError, match=r"0000\.json, line 1, column 17: not valid JSON"):
        source.read(0)

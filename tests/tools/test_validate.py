"""`object-detection validate`: what it finds in channels on a disk."""

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection.tools import cli
from sagemaker_object_detection.tools.findings import validate
from tests.data.samples import BOX, HEIGHT, JPEG, WIDTH, Sample, plain, write_images, write_records

FLAT = (0.5, 0.5, 0.5, 0.6)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["validate", *map(str, arguments)])


def samples(count: int, first: int = 0) -> list[Sample]:
    """Pictures that all differ, of classes 0, 1 and 2."""
    return [
        Sample(plain((n % 250, n // 250, 7)), class_ids=[n % 3])
        for n in range(first, first + count)
    ]


def write_coco(folder: Path, pictures: Sequence[Sample], names: Sequence[str]) -> None:
    images, notes = folder, folder.with_name(folder.name + "_annotation")
    write_images(images, notes, pictures)
    for file in notes.iterdir():
        file.unlink()
    scale = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    annotations = []
    for number, sample in enumerate(pictures):
        for class_id, box in zip(sample.class_ids, sample.boxes, strict=True):
            x0, y0, x1, y1 = (value * side for value, side in zip(box, scale, strict=True))
            bbox = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": class_id, "bbox": bbox}
            )
    content = {
        "images": [
            {"id": n, "file_name": f"{n:04}.png", "width": WIDTH, "height": HEIGHT}
            for n in range(len(pictures))
        ],
        "annotations": annotations,
        "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
    }
    (notes / "instances.json").write_text(json.dumps(content))


def test_two_sound_channels(tmp_path: Path) -> None:
    write_records(tmp_path / "train" / "a.rec", samples(9))
    write_records(tmp_path / "validation" / "b.rec", samples(3, first=9))
    result = run(tmp_path / "train", tmp_path / "validation")
    assert result.exit_code == 0, result.output
    assert "train\n  images         9, 0 of them without boxes" in result.output
    assert "num_classes is 3 (the largest class_id)." in result.output
    assert result.output.endswith("These channels can be trained on.\n")
    assert "LEAKAGE" not in result.output


def test_the_folder_of_all_channels_stands_for_each(tmp_path: Path) -> None:
    """Merged into one channel, the leakage between them would be copies inside of it."""
    write_images(tmp_path / "train", tmp_path / "train_annotation", samples(9))
    write_records(tmp_path / "validation" / "b.rec", samples(3, first=8))
    (tmp_path / "model").mkdir()
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    for line in ("train\n  images         9,", "validation\n  images         3,", "LEAKAGE"):
        assert line in result.output
    assert "model" not in result.output


def test_a_refusal_is_reported_and_ends_with_2(tmp_path: Path) -> None:
    bad = Sample(class_ids=[7])
    write_records(tmp_path / "train" / "a.rec", [*samples(9), bad])
    files = {kind: tmp_path / "out" / f"report.{kind}" for kind in ("json", "html")}
    options = ("--json", files["json"], "--html", files["html"], "--num-classes", 3)
    result = run(tmp_path / "train", *options)
    assert result.exit_code == 2
    assert "ClientError: The channel 'train' has records that cannot be used (1 in all):" in (
        result.output
    )
    assert "a.rec, record 9" in result.output
    assert "class_id 7 is not in 0..2" in result.output
    assert "can be trained on" not in result.output
    report = json.loads(files["json"].read_text())
    assert "class_id 7 is not in 0..2" in report["refused"][0]
    assert report["channels"]["train"]["images"] == 9
    assert "This data cannot be trained on" in files["html"].read_text()


def test_channels_whose_names_contradict_each_other(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "validation")):
        notes = tmp_path / f"{name}_annotation"
        write_images(tmp_path / name, notes, samples(2, first=9 * number))
        for file in notes.iterdir():
            content = json.loads(file.read_text())
            listed = [{"class_id": i, "name": f"name {i + number}"} for i in range(3)]
            file.write_text(json.dumps({**content, "categories": listed}))
    channels = tmp_path / "train", tmp_path / "validation"
    result = run(*channels)
    assert result.exit_code == 2
    assert f"class_id 0 is 'name 0' in {tmp_path}/train_annotation/0000.json" in result.output
    assert f"'name 1' in {tmp_path}/validation_annotation/0000.json" in result.output
    assert run(*channels, "--classes", "cat,dog,cow").exit_code == 0


def test_all_channels_are_looked_through_before_one_is_refused(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        write_records(tmp_path / name / "a.rec", [*samples(3), Sample(b"no image")])
    found = validate({name: tmp_path / name for name in ("train", "validation")})
    assert len(found.refused) == 2
    assert "1 of 4 images of the channel 'train'" in found.refused[0]
    assert "1 of 4 images of the channel 'validation'" in found.refused[1]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        pytest.param((), 2, id="a fifth is more than a tenth"),
        pytest.param(("--max-dropped-images", 0.2), 2, id="boxes are still limited"),
        pytest.param(("--max-dropped-boxes", 0.3), 2, id="images are still limited"),
        pytest.param(("--max-dropped-images", 0.2, "--max-dropped-boxes", 0.3), 0, id="both"),
    ],
)
def test_limits(tmp_path: Path, options: tuple[object, ...], code: int) -> None:
    flat = replace(samples(1)[0], boxes=[FLAT])
    write_records(tmp_path / "train" / "a.rec", [*samples(3), flat, Sample(b"no image")])
    result = run(tmp_path / "train", *options)
    assert result.exit_code == code, result.output
    assert "box dropped    1 zero_area" in result.output
    assert "image dropped  1 undecodable" in result.output


def test_leakage_between_forms(tmp_path: Path) -> None:
    write_records(tmp_path / "train" / "a.rec", samples(8))
    write_images(tmp_path / "check", tmp_path / "check_annotation", samples(3, first=7))
    result = run(tmp_path / "train", f"validation={tmp_path / 'check'}")
    assert result.exit_code == 0, result.output
    assert "LEAKAGE: 1 images of validation are in train too" in result.output
    assert f"{tmp_path / 'check' / '0000.png'} is {tmp_path / 'train' / 'a.rec'}, record 7" in (
        result.output
    )


def test_annotations_are_found_and_are_no_channel(tmp_path: Path) -> None:
    """As a shell gives them for data/*."""
    write_images(tmp_path / "train", tmp_path / "train_annotation", samples(6))
    result = run(*sorted(tmp_path.iterdir()))
    assert result.exit_code == 0, result.output
    assert "train_annotation\n" not in result.output
    assert "boxes          6" in result.output


NAMES = ["cat", "dog", "cow", "hen"]


def test_coco_categories_tell_the_classes(tmp_path: Path) -> None:
    write_coco(tmp_path / "train", samples(6), NAMES)
    found = validate({"train": tmp_path / "train"})
    assert (len(found.class_names), found.counted_by) == (4, "the classes of train")
    counts = found.report["channels"]["train"]["boxes_per_class"]
    assert counts == {"cat": 2, "dog": 2, "cow": 2, "hen": 0}


def test_crowds_of_coco_are_not_left_out_in_silence(tmp_path: Path) -> None:
    write_coco(tmp_path / "train", samples(3), ["a", "b", "c"])
    file = tmp_path / "train_annotation" / "instances.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(content))
    assert "1 boxes of crowds (iscrowd) are left out" in run(tmp_path / "train").output


def test_coco_categories_must_agree_with_what_is_given(tmp_path: Path) -> None:
    write_coco(tmp_path / "train", samples(6), NAMES)
    result = run(tmp_path / "train", "--num-classes", 3)
    assert result.exit_code == 2
    assert "list 4 classes (cat, dog, cow, hen), but num_classes is 3" in result.output


def test_categories_in_another_order_are_merged(tmp_path: Path) -> None:
    write_coco(tmp_path / "train", samples(3), ["a", "b", "c"])
    write_coco(tmp_path / "validation", samples(3, first=3), ["a", "c", "b"])
    result = run(tmp_path / "train", tmp_path / "validation")
    assert result.exit_code == 0, result.output
    assert "merged by name: a, b, c" in result.output


@pytest.mark.parametrize("place", ["train", "."], ids=["in the channel", "beside it"])
def test_classes_txt_tells_the_classes(tmp_path: Path, place: str) -> None:
    write_records(tmp_path / "train" / "a.rec", samples(6))
    file = tmp_path / place / "classes.txt"
    file.write_text("\n".join(NAMES))
    found = validate({"train": tmp_path / "train"})
    assert (len(found.class_names), found.counted_by) == (4, str(file))


def test_the_largest_class_id_tells_the_classes(tmp_path: Path) -> None:
    write_records(tmp_path / "a" / "a.rec", samples(2))
    write_records(tmp_path / "b" / "b.rec", [Sample(class_ids=[4])])
    found = validate({name: tmp_path / name for name in ("a", "b")})
    assert (len(found.class_names), found.counted_by) == (5, "the largest class_id")
    counts = found.report["channels"]["a"]["boxes_per_class"]
    assert list(counts.values()) == [1, 1, 0, 0, 0]


def test_images_without_boxes_are_one_class(tmp_path: Path) -> None:
    write_records(tmp_path / "validation" / "a.rec", [Sample(boxes=[], class_ids=[])])
    found = validate({"validation": tmp_path / "validation"})
    assert (len(found.class_names), found.refused) == (1, ())


def test_training_on_images_without_boxes_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "train" / "a.rec", [Sample(boxes=[], class_ids=[])])
    result = run(tmp_path / "train")
    assert result.exit_code == 2
    assert "The channel 'train' has 1 images and not one box" in result.output


def test_boxes_are_held_against_the_network_that_is_named(tmp_path: Path) -> None:
    write_records(tmp_path / "train" / "a.rec", samples(2))
    result = run(tmp_path / "train", "--base-network", "resnet-50", "--image-shape", 512)
    assert "overlap none of resnet-50 at 512 by more than 0.5" in result.output


USAGE = [
    pytest.param(["none"], "none is not a folder", id="missing"),
    pytest.param(["x=none"], "none is not a folder", id="missing, named"),
    pytest.param(["a.rec"], "a.rec is not a folder", id="a file"),
    pytest.param(["train", "train"], "the name 'train' is taken or empty", id="twice"),
    pytest.param(["=train"], "the name '' is taken or empty", id="no name"),
    pytest.param([], "Missing argument", id="nothing"),
    pytest.param(["train", "--num-classes", "0"], "--num-classes", id="no classes"),
    pytest.param(["train", "--image-shape", "299"], "--image-shape", id="too small"),
    pytest.param(["train", "--base-network", "x"], "'x' is not one of", id="network"),
]


@pytest.mark.parametrize(("arguments", "what"), USAGE)
def test_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], what: str
) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "a.rec").touch()
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert what in result.output


def test_the_present_folder_has_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_records(tmp_path / "train" / "a.rec", samples(2))
    monkeypatch.chdir(tmp_path / "train")
    assert run(".").output.startswith("Channel 'train' comes as RecordIO.\ntrain\n")


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.txt").touch()
    result = run(tmp_path / "train")
    assert result.exit_code == 2
    assert "holds neither .rec files nor images" in result.output


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    name = "\x1b[2J" + b"\xe9".decode("utf-8", "surrogateescape")
    folder = tmp_path / name
    write_images(folder, tmp_path / f"{name}_annotation", [*samples(10), Sample(JPEG[:99])])
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert "\\x1b[2J\\udce9" in result.output


def test_logging_is_left_as_it_was(tmp_path: Path) -> None:
    write_records(tmp_path / "train" / "a.rec", samples(2))
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    run(tmp_path / "train")
    assert (root.level, list(root.handlers)) == before


def test_no_mxnet_is_loaded(tmp_path: Path) -> None:
    write_records(tmp_path / "train" / "a.rec", [Sample(boxes=[BOX])])
    program = (
        "import sys; from sagemaker_object_detection.tools.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('mxnet' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "validate", str(tmp_path / "train")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.endswith("These channels can be trained on.\nFalse\n")

"""Labels of other tools: named by file and format, with what to do; what is read is not named."""

import json
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.channels import parse_channels
from sagemaker_object_detection.platform.errors import FAILURE_LIMIT, ClientError, failure_text
from sagemaker_object_detection.platform.foreign import recognized
from sagemaker_object_detection.platform.forms import with_forms
from tests.platform.conftest import Tree

VIA_IMAGE = {"filename": "x.png", "size": 9, "regions": [], "file_attributes": {}}
SERVICE = {"file": "x.png", "image_size": [{"width": 9, "height": 9}], "annotations": []}
SAMPLES = {
    "VIA": ("shelf.json", json.dumps({"x.png9": VIA_IMAGE}), ["VIA", "(COCO format)"]),
    "VIA project": (
        "shelf.json",
        json.dumps({"_via_settings": {}, "_via_img_metadata": {}}),
        ["VIA", "(COCO format)"],
    ),
    "VIA csv": (
        "shelf.csv",
        "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes\n",
        ["VIA", "(COCO format)"],
    ),
    "LabelMe": (
        "x.json",
        json.dumps({"version": "4.5.6", "flags": {}, "shapes": [], "imagePath": "x.png"}),
        ["LabelMe", "labelme2coco"],
    ),
    "CreateML": (
        "sub/boxes.json",
        json.dumps(
            [
                {"image": "w.png", "annotations": []},
                {"image": "x.png", "annotations": [{"label": "nut", "coordinates": {"x": 4}}]},
            ]
        ),
        ["CreateML", "COCO"],
    ),
    "Label Studio": (
        "project-1.json",
        json.dumps([{"id": 7, "annotations": [{"result": [{"from_name": "label"}]}]}]),
        ["Label Studio", "Export > COCO"],
    ),
    "Label Studio, short": (
        "project-1.json",
        json.dumps([{"image": "x.png", "label": [{"x": 1, "rectanglelabels": ["nut"]}]}]),
        ["Label Studio", "Export > COCO"],
    ),
    "CVAT": (
        "annotations.xml",
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>',
        ["CVAT", "COCO 1.0"],
    ),
    "csv": (
        "labels.csv",
        "filename,width,height,class,XMin,YMin,XMax,YMax\n",
        ["csv", "COCO"],
    ),
    "csv without header": ("labels.csv", "img/x.PNG,4,5,60,70,nut\n", ["csv", "COCO"]),
    "im2rec": ("val.lst", "0\t2\t5\t0\t0\t0\t1\t1\tx.png\n", ["im2rec", "--pack-label"]),
    "TFRecord": ("train.tfrecord-00003-of-00010", "\x00", ["TFRecord", "COCO"]),
    "Parquet": ("0000.parquet", "PAR1", ["Parquet", "COCO"]),
    "zip": ("labels.ZIP", "PK", ["archive", "Unpack"]),
    "tar": ("labels.tar.gz", "\x1f", ["archive", "Unpack"]),
}


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(("name", "text", "words"), SAMPLES.values(), ids=SAMPLES)
def test_named_among_images(name: str, text: str, words: list[str], tmp_path: Path) -> None:
    for number in range(9):
        put(tmp_path, f"{number}.jpg", "")
    put(tmp_path, "README.txt", "12 images\n")
    path = put(tmp_path, name, text)
    sentence = recognized(tmp_path)
    assert sentence is not None
    assert sentence.startswith(f"{path} is ")
    assert all(word in sentence for word in words)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"a.jpg": "", "train.rec": ""}, id="no labels"),
        pytest.param({"x.json": json.dumps(SERVICE)}, id="JSON of the service"),
        pytest.param({"train.rec": "", "train.lst": "", "raw.zip": ""}, id="next to RecordIO"),
        pytest.param({"annotations.zip": "", "a/coco.json": "{}"}, id="unpacked already"),
        pytest.param({"classes.txt": "cat\ndog\n", "train.txt": "a 1\nb -1\n"}, id="lists"),
        pytest.param({"prices.csv": "sku,price\n1,2\n"}, id="a csv of something else"),
        pytest.param({"label_map.xml": "<map/>", "x.txt": "1 2 3"}, id="unknown"),
    ],
)
def test_nothing_to_name(found: dict[str, str], tmp_path: Path) -> None:
    for name, text in found.items():
        put(tmp_path, name, text)
    assert recognized(tmp_path) is None


def test_what_cannot_be_looked_at_is_no_format(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to(tmp_path / "nowhere")
    assert recognized(tmp_path) is None
    assert recognized(tmp_path / "missing") is None


def _failure(tree: Tree, names: list[str]) -> ClientError:
    channels = parse_channels({name: {"TrainingInputMode": "File"} for name in names}, tree.paths)
    with pytest.raises(ClientError) as caught:
        with_forms(channels)
    return caught.value


def test_a_job_names_the_labels_of_both_channels(tree: Tree) -> None:
    name, text, _ = SAMPLES["VIA"]
    for channel in ("train", "validation"):
        tree.channel(channel, ["x.jpg"])
        put(tree.paths.channel_dir(channel), name, text)
    error = _failure(tree, ["train", "validation"])
    shown = failure_text(error)
    assert len(error.faults) == 2
    assert len(shown) < FAILURE_LIMIT
    for channel in ("train", "validation"):
        path = tree.paths.channel_dir(channel) / name
        assert f"Channel '{channel}': {path} is an export of VIA" in shown


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        pytest.param(
            {"train": ["x.jpg"], "train_annotation": ["a.parquet"]},
            ["Channel 'train_annotation': {}/train_annotation/a.parquet is a Parquet file"],
            id="in the annotation channel",
        ),
        pytest.param(
            {"train": ["x.zip"], "train_annotation": ["a.json"]},
            ["Channel 'train': {}/train/x.zip is an archive"],
            id="instead of images",
        ),
        pytest.param(
            {"train": ["x.tfrecord"]},
            ["Channel 'train': {}/train/x.tfrecord is a TFRecord file"],
            id="instead of everything",
        ),
    ],
)
def test_named_wherever_a_channel_lacks_something(
    content: dict[str, list[str]], faults: list[str], tree: Tree
) -> None:
    for name, names in {**content, "validation": ["v.rec"]}.items():
        tree.channel(name, names)
    found = _failure(tree, [*content, "validation"]).faults
    root = tree.paths.data_dir
    assert [text.split(", which")[0] for text in found] == [f.format(root) for f in faults]

"""`object-detection train`: options from the table, the choice of splits, the tree of the job."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection.data.sources import open_sources
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import SETTINGS
from sagemaker_object_detection.platform.job import Job, load_job
from sagemaker_object_detection.tools import cli, training_job
from sagemaker_object_detection.tools.train import command as train_command
from sagemaker_object_detection.tools.training_job import COUNTED, prepare, reopen
from tests.tools.format_trees import NAMES, SPLITS, TREES, Sample, sample, write, write_tree

LOOSE = {"max_dropped_images": 1, "max_dropped_boxes": 1}
"""The trees hold a box without area among few boxes."""
NINE = [sample(f"{n}.jpg", (40, 30), ("dog", (1, 2, 30, 20), False), seed=n) for n in range(9)]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["train", *map(str, arguments)])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The jobs that would be run; they end well, and leave nothing."""
    bases: list[Path] = []

    def run(paths: training_job.Paths) -> int:
        bases.append(paths.base)
        return 0

    monkeypatch.setattr("sagemaker_object_detection.tools.train.run", run)
    return bases


def job_of(out: Path) -> Job:
    return load_job({"SAGEMAKER_BASE_DIR": str(out)})


def images_of(out: Path) -> dict[str, list[str]]:
    """What training reads, channel by channel."""
    job = job_of(out)
    given = job.hyperparameters
    names = [n for n in ("train", "validation") if n in job.channels]
    names = [name for name in names if job.channels[name].form != "share"]
    sources = open_sources(job.channels, names, given.num_classes, given.class_names)
    return {
        name: sorted(f"{source.image_name(index)}" for index in range(len(source)))
        for name, source in sources.items()
    }


def names(samples: Sequence[Sample]) -> list[str]:
    return sorted(one.name for one in samples)


def test_every_hyperparameter_is_an_option() -> None:
    options = {param.name for param in train_command.params}
    assert {setting.name for setting in SETTINGS} - set(COUNTED) <= options
    assert options.isdisjoint(COUNTED)
    text = run("--help").output
    assert "default: resnet-50]" in " ".join(text.split())
    for setting in SETTINGS:
        if setting.name not in COUNTED:
            assert f"--{setting.name.replace('_', '-')} VALUE" in text


@pytest.mark.parametrize("form", sorted(TREES))
def test_every_format_becomes_a_job(form: str, tmp_path: Path) -> None:
    data = write_tree(form, tmp_path / "data")
    prepare(data, tmp_path / "run", LOOSE)
    job = job_of(tmp_path / "run")
    assert job.hyperparameters.num_classes == 3
    assert job.hyperparameters.num_training_samples == 4
    assert job.hyperparameters.base_network == "resnet-50"
    assert sorted(job.hyperparameters.class_names) == sorted(NAMES)
    assert job.checkpoint_dir == tmp_path / "run/checkpoints"
    read = images_of(tmp_path / "run")
    if form == "recordio":  # without a list its records have no names
        assert {name: len(images) for name, images in read.items()} == {"train": 4, "validation": 1}
    else:
        assert read == {"train": names(SPLITS["train"]), "validation": names(SPLITS["val"])}
    real = [p for p in (tmp_path / "run/input/data").rglob("*") if not p.is_symlink()]
    assert all(path.is_dir() for path in real), "the data is copied"


UNSPLIT = [
    pytest.param("voc", "", id="VOC without lists: XML and images"),
    pytest.param("yolo", "", id="YOLO: images and labels"),
    pytest.param("yolo", "data.yaml", id="YOLO: its data.yaml"),
    pytest.param("coco", "annotations/instances_train2017.json", id="a COCO file"),
    pytest.param("manifest", "train.manifest", id="a manifest"),
    pytest.param("sagemaker-json", "train", id="a folder next to its annotations"),
    pytest.param("recordio", "train.rec", id="a .rec file"),
]


def unsplit(form: str, folder: Path, place: str) -> Path:
    """The nine images, in a layout without splits, or of which `place` is one."""
    write_tree(form, folder, {"train": NINE})
    if form == "voc":
        shutil.rmtree(folder / "ImageSets")
    if form == "yolo":
        for kind in ("images", "labels"):
            for path in (folder / kind / "train").iterdir():
                path.rename(folder / kind / path.name)
            (folder / kind / "train").rmdir()
        (folder / "data.yaml").write_text(f"names: {list(NAMES)}\n")
    return folder / place


@pytest.mark.parametrize(("form", "place"), UNSPLIT)
def test_a_share_validates_where_the_data_is_not_split(
    form: str, place: str, tmp_path: Path
) -> None:
    data = unsplit(form, tmp_path / "data", place)
    with pytest.raises(ClientError, match=r"(?s)--validation, or --validation-share 0\.2"):
        prepare(data, tmp_path / "run", {})
    assert not (tmp_path / "run").exists()
    prepare(data, tmp_path / "run", {"validation_share": 0.3, "seed": 1})
    job = job_of(tmp_path / "run")
    assert job.hyperparameters.num_training_samples == 6
    assert len(images_of(tmp_path / "run")["train"]) == 9
    assert job.channels["validation"].form == "share"


@pytest.mark.parametrize(("form", "place"), UNSPLIT)
def test_validation_may_be_any_other_data(form: str, place: str, tmp_path: Path) -> None:
    validation = unsplit(form, tmp_path / "other", place)
    data = write_tree("coco", tmp_path / "data")
    prepare(data, tmp_path / "run", LOOSE, validation=validation)
    read = images_of(tmp_path / "run")
    assert read["train"] == names(SPLITS["train"])
    assert len(read["validation"]) == 9


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_splits_that_are_called_otherwise_are_converted(form: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tree(form, data, {"train2017": NINE[:6], "val2017": NINE[6:]})
    (data / "data.yaml").unlink(missing_ok=True)
    prepare(data, tmp_path / "run", {})
    assert images_of(tmp_path / "run") == {
        "train": names(NINE[:6]),
        "validation": names(NINE[6:]),
    }
    assert job_of(tmp_path / "run").channels["train"].form == "recordio"


def test_labels_in_two_formats_have_to_be_chosen_from(tmp_path: Path) -> None:
    data = write_tree("coco", tmp_path / "data")
    write_tree("yolo", data, {"train": NINE[:6], "val": NINE[6:]})
    with pytest.raises(
        ClientError, match=r"several formats: coco, yolo\. Choose one with --format"
    ):
        prepare(data, tmp_path / "run", LOOSE)
    prepare(data, tmp_path / "coco", LOOSE, form="coco")
    assert images_of(tmp_path / "coco")["train"] == names(SPLITS["train"])
    prepare(data, tmp_path / "yolo", LOOSE, form="yolo")
    assert images_of(tmp_path / "yolo")["train"] == names(NINE[:6])


def test_class_names_order_the_classes(tmp_path: Path) -> None:
    data = write_tree("coco", tmp_path / "data")
    order = [NAMES[1], NAMES[2], NAMES[0]]
    prepare(data, tmp_path / "run", {**LOOSE, "class_names": order})
    assert list(job_of(tmp_path / "run").hyperparameters.class_names) == order


REFUSED: Sequence[object] = [
    pytest.param({"a.txt": "text"}, {}, "holds no labeled images", id="nothing"),
    pytest.param({"a.json": '{"shapes": []}'}, {}, "is a LabelMe file", id="another tool's labels"),
    pytest.param(
        {"train/a.jpg": "", "train_annotation/via.json": '{"_via_settings": {}}'},
        {},
        "is an export of VIA",
        id="another tool's labels as annotations",
    ),
    pytest.param(
        {f"ImageSets/Main/{split}.txt": "a" for split in ("a", "b")} | {"a.xml": "<annotation>"},
        {},
        "has the splits a, b, and none is called train",
        id="no train",
    ),
    pytest.param(
        {}, {"epochs": "0", "nms_topk": "x"}, "(?s)epochs.*nms_topk", id="hyperparameters"
    ),
    pytest.param({}, {"num_classes": 3}, "counted in the data", id="a count"),
    pytest.param({}, {"class_names": "a,,b"}, "class_names", id="class names"),
]


@pytest.mark.parametrize(("tree", "given", "match"), REFUSED)
def test_refused(
    tree: Mapping[str, str], given: Mapping[str, object], match: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for name, text in tree.items():
        write(tmp_path / "data" / name, text)
    with pytest.raises(ClientError, match=match):
        prepare(tmp_path / "data", tmp_path / "run", given)
    assert not (tmp_path / "run").exists()


def test_faults_of_the_data_name_the_files_of_the_user(tmp_path: Path) -> None:
    data = write_tree("yolo", tmp_path / "data", {"train": NINE[:6], "val": NINE[6:]})
    label = data / "labels/train/3.txt"
    label.write_text("0 0.5 0.5\n")
    result = run(data, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert f"{label}, line 1" in result.output
    assert not (tmp_path / "run").exists()


def test_a_share_next_to_a_split(tmp_path: Path) -> None:
    data = write_tree("coco", tmp_path / "data")
    given = {**LOOSE, "validation_share": "0.2"}
    with pytest.raises(ClientError, match=r"has data for validation \(val2017\)"):
        prepare(data, tmp_path / "run", given)
    other = unsplit("voc", tmp_path / "other", "")
    with pytest.raises(ClientError, match=r"other has data for validation \(all of it\)"):
        prepare(data, tmp_path / "run", given, validation=other)


def test_a_split_that_data_yaml_lists_and_nobody_exported(tmp_path: Path) -> None:
    data = write_tree("yolo", tmp_path / "data", {"train": NINE})
    with pytest.raises(ClientError, match=r"data.yaml: 'images/val'.*Or give other data as --val"):
        prepare(data, tmp_path / "run", {})
    prepare(data, tmp_path / "run", {"validation_share": 0.3})
    assert list(images_of(tmp_path / "run")) == ["train"]


def test_one_manifest_for_all_images_elsewhere(tmp_path: Path) -> None:
    """As Ground Truth writes it."""
    data = write_tree("manifest", tmp_path / "data", {"train": NINE})
    (data / "manifests/output").mkdir(parents=True)
    (data / "train.manifest").rename(data / "manifests/output/output.manifest")
    prepare(data, tmp_path / "run", {"validation_share": 0.3})
    assert images_of(tmp_path / "run") == {"train": [f"train/{name}" for name in names(NINE)]}


def test_a_share_that_leaves_nothing(tmp_path: Path) -> None:
    data = unsplit("voc", tmp_path / "data", "")
    with pytest.raises(ClientError, match=r"validation_share 0\.99 leaves no image for train"):
        prepare(data, tmp_path / "run", {"validation_share": 0.99})


@pytest.mark.parametrize("out", [".", "run", "../"])
def test_out_and_data_contain_each_other(out: str, tmp_path: Path) -> None:
    data = write_tree("coco", tmp_path / "data")
    with pytest.raises(ClientError, match=r"must not contain each other|not empty"):
        prepare(data, data / out, LOOSE)


def test_an_earlier_run_is_replaced_or_continued_on_request_only(
    tmp_path: Path, trained: list[Path]
) -> None:
    data, out = write_tree("coco", tmp_path / "data"), tmp_path / "run"
    loose = [f"--{name.replace('_', '-')}={value}" for name, value in LOOSE.items()]
    assert run(data, "--out", out, *loose, "--epochs", 3).exit_code == 0
    write(out / "model/model.json", "{}")
    again = run(data, "--out", out, *loose)
    assert again.exit_code == 2
    assert "--resume" in again.output
    assert "--overwrite" in again.output
    assert trained == [out]

    assert run("--out", out, "--resume", "--epochs", 5).exit_code == 0
    assert job_of(out).hyperparameters.epochs == 5
    assert job_of(out).hyperparameters.max_dropped_images == 1
    assert (out / "model/model.json").exists()
    assert run(data, "--out", out, "--resume").exit_code == 0
    other = run(tmp_path, "--out", out, "--resume")
    assert other.exit_code == 2
    assert f"has {data} as data, not {tmp_path}" in other.output

    result = run(data, "--out", out, *loose, "--overwrite")
    assert result.exit_code == 0
    assert "stopped before there was a model" in result.output
    assert job_of(out).hyperparameters.epochs == 30
    assert not (out / "model").exists()
    assert data.is_dir()


def test_what_another_program_has_left_is_never_overwritten(tmp_path: Path) -> None:
    data = write_tree("coco", tmp_path / "data")
    write(tmp_path / "run/input/data/train/a.jpg", "precious")
    result = run(data, "--out", tmp_path / "run", "--overwrite")
    assert result.exit_code == 2
    assert "is not empty and holds no training run" in result.output
    assert (tmp_path / "run/input/data/train/a.jpg").exists()
    with pytest.raises(ClientError, match="no training run to resume"):
        reopen(tmp_path / "run", {})


USAGE = [
    pytest.param(["--resume", "--overwrite"], "exclude each other", id="resume and overwrite"),
    pytest.param([], "Missing argument 'DATA'", id="no data"),
    pytest.param(["a", "--mini_batch_sise", "2"], "No such option", id="no such option"),
    pytest.param(["a"], "a does not exist", id="no such folder"),
]


@pytest.mark.parametrize(("arguments", "what"), USAGE)
def test_usage(arguments: list[str], what: str, tmp_path: Path) -> None:
    result = run(*arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert what in result.output


def test_names_may_be_spelled_as_those_of_the_service(tmp_path: Path, trained: list[Path]) -> None:
    data = write_tree("coco", tmp_path / "data")
    options = ["--max_dropped_boxes=1", "--max_dropped_images", 1, "--mini_batch_size", 2]
    result = run(data, "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    assert job_of(tmp_path / "run").hyperparameters.mini_batch_size == 2
    assert "train: 4 images.\nvalidation: 1 images.\n3 classes: cat, dog" in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_training_and_its_exit_code_comes_back(
    number: signal.Signals, tmp_path: Path
) -> None:
    program = f"""
import os, sys, threading
from pathlib import Path
from sagemaker_object_detection.tools import cli, train, training_job
training_job._PROGRAM = "slow_training"
train.reopen = lambda out, *rest: training_job.Paths(out)
threading.Thread(target=lambda: (
    open({str(tmp_path / "ready")!r}).read(), os.kill(os.getpid(), {int(number)})
)).start()
cli.main(["train", "--resume", "--out", {str(tmp_path)!r}])
"""
    write(
        tmp_path / "slow_training.py",
        f"""
import signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda n, _: sys.exit(40 + n))
open({str(tmp_path / "ready")!r}, "w").write("x")
time.sleep(60)
""",
    )
    subprocess.run(["mkfifo", tmp_path / "ready"], check=True)
    source = Path(cli.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{source}:{tmp_path}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 40 + number, done.stderr
    assert f"Training ended with exit code {40 + number}." in done.stderr


def test_the_failure_of_a_training_is_raised_as_what_it_is(tmp_path: Path) -> None:
    paths = training_job.Paths(tmp_path)
    write(paths.failure_file, "ClientError: The data is gone.")
    error = training_job.failure_of(paths, 2)
    assert (type(error).__name__, str(error)) == ("ClientError", "The data is gone.")
    paths.failure_file.unlink()
    assert "exit code 137" in str(training_job.failure_of(paths, 137))


def test_the_tree_is_json_that_people_can_read(tmp_path: Path) -> None:
    prepare(write_tree("manifest", tmp_path / "data"), tmp_path / "run", LOOSE)
    channels = json.loads((tmp_path / "run/input/config/inputdataconfig.json").read_text())
    file = {"TrainingInputMode": "File"}
    assert channels == dict.fromkeys(
        ("train", "train_annotation", "validation", "validation_annotation"), file
    )

"""From labeled images to a model: the command and the Python API, with the container's program."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sagemaker_object_detection import JobError, load, train
from tests.tools.format_trees import NAMES, Sample, write_tree
from tests.training_job import SMALL, pictures

OPTIONS = {name: SMALL[name] for name in ("base_network", "mini_batch_size", "epochs", "quantize")}
CLI = [sys.executable, "-m", "sagemaker_object_detection.tools.cli"]


def samples(first: int, count: int) -> list[Sample]:
    return [
        Sample(
            f"{number}.jpg",
            picture.data,
            picture.size,
            [
                (NAMES[class_id], tuple(box), False)
                for class_id, box in zip(
                    picture.class_ids.tolist(), picture.boxes_px.tolist(), strict=True
                )
            ],
        )
        for number, picture in enumerate(pictures(first, count), first)
    ]


def command(*arguments: object, **changes: object) -> list[str]:
    given = OPTIONS | changes
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    return [*CLI, "train", *map(str, arguments), *options]


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "voc"
    return write_tree("voc", folder, {"train": samples(0, 4), "val": samples(4, 2)})


def test_the_command_trains_resumes_and_is_followed_by_others(voc: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs/first"
    done = subprocess.run(command(voc, "--out", out), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "train: 4 images." in done.stdout
    closing = done.stdout.splitlines()[-6:]
    assert closing[0] == f"Model:    {out / 'model'}"
    assert Path(closing[1].removeprefix("Report:   ")).is_file()

    model = json.loads((out / "model/model.json").read_text())
    assert model["class_names"] == sorted(NAMES)
    shutil.copytree(voc / "JPEGImages", tmp_path / "IMAGES")
    for line in closing[2:]:
        program, *arguments = line.partition(": ")[2].split()
        assert program == "object-detection"
        if arguments[0] == "serve":  # which does not end
            continue
        after = subprocess.run(
            [*CLI, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert after.returncode == 0, f"{line}\n{after.stderr}"

    more = [*CLI, "train", "--resume", "--out", str(out), "--epochs=2"]
    done = subprocess.run(more, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Training goes on from" in done.stdout + done.stderr
    assert len((out / "output/data/metrics.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_stopped_training(number: signal.Signals, code: int, voc: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(voc, "--out", out, epochs=1000), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    end = time.monotonic() + 100
    while not (out / "model/model.json").is_file() and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(number)
    printed = process.communicate(timeout=100)[0].decode()
    assert process.returncode == code, printed
    assert "Traceback" not in printed
    assert (f"Model:    {out}" if code == 0 else "Continue: object-detection train") in printed


def test_the_api_trains_and_its_model_detects(tmp_path: Path) -> None:
    data = write_tree("yolo", tmp_path / "yolo", {"train": samples(0, 6)})
    (data / "data.yaml").write_text(f"train: images/train\nnames: {list(NAMES)}\n")
    model = train(data, tmp_path / "run", validation_share=0.3, **OPTIONS)
    detector = load(model, threshold=0)
    assert detector.class_names == NAMES
    found = detector(data / "images/train/0.jpg")
    assert found.boxes_px.shape == (len(found), 4)
    assert set(found.class_names.tolist()) <= set(NAMES)

    with pytest.raises(JobError, match="matches no layer") as caught:
        train(data, tmp_path / "run", resume=True, freeze_layer_pattern="nothing")
    assert caught.value.exit_code == 2

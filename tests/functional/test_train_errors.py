"""Jobs that cannot succeed, by running them: exit code, failure file, and no half of a model."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import FAILURE_LIMIT
from tests.training_job import Picture, TrainingJob, picture, pictures, write_recordio

Damage = Callable[[TrainingJob], None]


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """A sound job, of one picture for each channel, to be damaged."""
    job = TrainingJob(tmp_path)
    job.recordio([picture(0)], [picture(1)])
    return job


def _failed(job: TrainingJob, code: int, expected: int, failure: str) -> None:
    assert code == expected, job.log
    assert job.failure is not None
    assert re.match(failure, job.failure, re.DOTALL), job.failure
    assert len(job.failure) <= FAILURE_LIMIT
    # The log has it all; what the failure file had to cut off, and nothing that only we can read.
    assert job.failure[:100].splitlines()[0] in job.log
    assert "Traceback" not in job.log
    assert not list(job.paths.model_dir.glob("*.params"))


def _no_validation(job: TrainingJob) -> None:
    shutil.rmtree(job.paths.channel_dir("validation"))
    file = job.paths.input_data_config_file
    file.write_text('{"train": {"ContentType": "application/x-recordio"}}')


def _no_hyperparameters(job: TrainingJob) -> None:
    job.paths.hyperparameters_file.unlink()


def _broken_json(job: TrainingJob) -> None:
    job.paths.hyperparameters_file.write_text('{"num_classes": "3",\n "epochs" "1"}')


def _bad_values(job: TrainingJob) -> None:
    job.configure(
        {"train": "application/x-recordio", "validation": "text/csv"},
        mini_batch_siz=4,
        learning_rate=2,
    )


def _empty_channel(job: TrainingJob) -> None:
    (job.paths.channel_dir("train") / "data.rec").unlink()
    (job.paths.channel_dir("train") / "data.idx").unlink()


def _missing_folder(job: TrainingJob) -> None:
    shutil.rmtree(job.paths.channel_dir("train"))


def _images_without_annotations(job: TrainingJob) -> None:
    folder = job.paths.channel_dir("train")
    (folder / "data.rec").rename(folder / "data.jpg")
    (folder / "data.idx").unlink()


def _other_class(job: TrainingJob) -> None:
    one = picture(0)
    write_recordio(
        job.paths.channel_dir("train"),
        [one, one.with_boxes((5, 5, 50, 50), class_id=3), one.with_boxes((5, 5, 9, 9), class_id=9)],
    )


def _cut_records(job: TrainingJob) -> None:
    path = write_recordio(job.paths.channel_dir("train"), pictures(0, 3))
    path.write_bytes(path.read_bytes()[:-1000])


def _no_records(job: TrainingJob) -> None:
    (job.paths.channel_dir("train") / "data.rec").write_bytes(b"")


def _no_picture(job: TrainingJob) -> None:
    one = picture(0)
    text = Picture(b"<html>404</html>", one.size, one.boxes_px, one.class_ids)
    write_recordio(job.paths.channel_dir("train"), [one, text])


def _flat_boxes(job: TrainingJob) -> None:
    write_recordio(job.paths.channel_dir("train"), [picture(0).with_boxes((5, 5, 5, 50))])


def _hosts(job: TrainingJob) -> None:
    job.paths.resource_config_file.write_text(
        '{"current_host": "algo-1", "hosts": ["algo-1", "algo-1"]}'
    )


@pytest.mark.parametrize(
    ("damage", "failure"),
    [
        pytest.param(
            _no_validation,
            r"ClientError: Missing required channel: validation",
            id="missing channel",
        ),
        pytest.param(
            _no_hyperparameters,
            r"ClientError: .*hyperparameters\.json is missing.*num_classes",
            id="no hyperparameters",
        ),
        pytest.param(
            _broken_json,
            r"ClientError: .*hyperparameters\.json is not JSON: .*line 2, column 11",
            id="unreadable JSON",
        ),
        pytest.param(
            _bad_values,
            r"ClientError: \[1/3\] Unknown hyperparameter: mini_batch_siz.*mini_batch_size"
            r".*\[2/3\] .*learning_rate.*\[3/3\] .*text/csv",
            id="all faults of all files at once",
        ),
        pytest.param(
            _empty_channel, r"ClientError: Channel 'train': .* holds no files", id="empty channel"
        ),
        pytest.param(
            _missing_folder, r"ClientError: Channel 'train': .* is missing", id="no folder"
        ),
        pytest.param(
            _images_without_annotations,
            r"ClientError: Channel 'train': .*train_annotation",
            id="images without annotations",
        ),
        pytest.param(
            _hosts,
            r"ClientError: .*every name may be there only once",
            id="a host that is there twice",
        ),
        pytest.param(
            _other_class,
            r"ClientError: The channel 'train' .*\(2 in all\).*data\.rec, record 1 \(byte \d+\): "
            r"class_id 3 is not in 0\.\.2.*num_classes.*record 2 .*class_id 9",
            id="class_id out of range",
        ),
        pytest.param(
            _cut_records,
            r"ClientError: .*data\.rec, record 2 \(byte \d+\): the file ends inside this record",
            id="truncated .rec",
        ),
        pytest.param(_no_records, r"ClientError: .*data\.rec: the file is empty", id="empty .rec"),
        pytest.param(
            _no_picture,
            r"ClientError: 1 of 2 images of the channel 'train' .*undecodable.*record 1 \(byte",
            id="image that is no image",
        ),
        pytest.param(
            _flat_boxes,
            r"ClientError: 1 of 1 boxes of the channel 'train' .*zero_area.*record 0",
            id="every box without area",
        ),
    ],
)
def test_the_users_fault(job: TrainingJob, damage: Damage, failure: str) -> None:
    damage(job)
    _failed(job, job.run(), 2, failure)


def _wrong_picture(job: TrainingJob) -> None:
    (job.paths.channel_dir("train") / "000.jpg").write_bytes(b"\x89PNG\r\n")


def _cut_note(job: TrainingJob) -> None:
    file = job.paths.channel_dir("train_annotation") / "000.json"
    file.write_text(file.read_text()[:40])


def _lonely_note(job: TrainingJob) -> None:
    (job.paths.channel_dir("train_annotation") / "001.json").write_text("{}")


def _nothing_to_learn(job: TrainingJob) -> None:
    for note in job.paths.channel_dir("train_annotation").iterdir():
        content = json.loads(note.read_text())
        note.write_text(json.dumps({**content, "annotations": []}))


def _no_annotation_channel(job: TrainingJob) -> None:
    shutil.rmtree(job.paths.channel_dir("validation_annotation"))
    job.paths.input_data_config_file.unlink()


@pytest.mark.parametrize(
    ("damage", "failure"),
    [
        pytest.param(
            _wrong_picture, r"ClientError: 1 of 1 images.*000\.jpg", id="image that is no image"
        ),
        pytest.param(
            _cut_note,
            r"ClientError: .*000\.json, line 1, column \d+: not valid JSON",
            id="unreadable annotation",
        ),
        pytest.param(
            _lonely_note, r"ClientError: .*001\.json: there is no image 001", id="no image for it"
        ),
        pytest.param(
            _no_annotation_channel,
            r"ClientError: Channel 'validation'.*Missing required channel: validation_annotation",
            id="missing channel",
        ),
        pytest.param(
            _nothing_to_learn,
            r"ClientError: The channel 'train' has 1 images and not one box",
            id="nothing to learn",
        ),
    ],
)
def test_the_users_fault_in_images(tmp_path: Path, damage: Damage, failure: str) -> None:
    job = TrainingJob(tmp_path)
    job.images([picture(0)], [picture(1)])
    damage(job)
    _failed(job, job.run(), 2, failure)


@pytest.mark.parametrize(
    ("hyperparameters", "failure"),
    [
        pytest.param(
            {"base_network": "vgg-16", "learning_rate": 1, "mini_batch_size": 1, "epochs": 9},
            r"ClientError: The loss (cross_entropy|smooth_l1) became (nan|inf) in epoch \d+, "
            r"batch \d+: .*learning_rate",
            id="training that diverges",
        ),
        pytest.param(
            {"freeze_layer_pattern": "^weight"},
            r"ClientError: freeze_layer_pattern '\^weight' matches no layer of mobilenet1\.0",
            id="a pattern that matches nothing",
        ),
        pytest.param(
            {"freeze_layer_pattern": ".*"},
            r"ClientError: freeze_layer_pattern '\.\*' freezes every layer",
            id="nothing left to train",
        ),
        pytest.param(
            {"use_pretrained_model": 1},
            r"ClientError: use_pretrained_model is 1, but there are no weights for mobilenet1\.0",
            id="no weights",
        ),
        pytest.param(
            {"precision": "float16"},
            r"ClientError: .*float16 needs a GPU",
            id="float16 without a GPU",
            marks=pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="has a GPU"),
        ),
    ],
)
def test_hyperparameters_that_do_not_fit(
    tmp_path: Path, hyperparameters: dict[str, object], failure: str
) -> None:
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 4), [picture(1)], augmentation=False, **hyperparameters)
    environ = {"OBJECT_DETECTION_WEIGHTS": str(tmp_path / "none")}
    code = job.run(environ=environ)
    assert code == 2, job.log
    assert job.failure is not None
    assert re.match(failure, job.failure), job.failure
    assert "Traceback" not in job.log


def test_weights_that_are_damaged(job: TrainingJob) -> None:
    folder = job.paths.channel_dir("pretrained")
    folder.mkdir()
    (folder / "mobilenet1.0.params").write_bytes(b"no weights")
    job.configure(
        {
            "train": "application/x-recordio",
            "validation": "application/x-recordio",
            "pretrained": "application/x-sagemaker-model",
        },
        use_pretrained_model=1,
    )
    _failed(job, job.run(), 2, r"ClientError: .*mobilenet1\.0\.params does not hold weights")


def _obeying_modes() -> list[str]:
    """A command that runs another one as a user whom a folder's mode can keep out.

    The administrator without the capability to pass over modes is one; others are anyway.
    """
    if os.geteuid() != 0:
        return []
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    tried = shutil.which("setpriv") and subprocess.run([*command, "true"], capture_output=True)
    if not tried or tried.returncode != 0:
        pytest.skip("the administrator cannot give up capabilities here, and may write anywhere")
    return command


@contextlib.contextmanager
def _mode(mode: int, *paths: Path) -> Iterator[None]:
    for path in paths:
        path.chmod(mode)
    try:
        yield
    finally:
        for path in paths:  # pytest wants to remove them
            path.chmod(0o755)


def test_no_permission_to_write_the_model(job: TrainingJob) -> None:
    """Said before any training, with the folder and what to do."""
    folder = job.paths.model_dir
    folder.mkdir()
    with _mode(0o555, folder):
        code = job.run(_obeying_modes())
    _failed(job, code, 3, rf"PlatformError: Permission denied: '{folder}'\. .*owner")
    assert "Channel 'train' checked" not in job.log


def test_no_permission_to_write_anything(job: TrainingJob) -> None:
    """The failure file neither: the log tells both, and the exit code is the same."""
    output = job.paths.output_data_dir.parent
    output.mkdir()
    job.paths.failure_file.write_text("of an earlier run")
    with _mode(0o555, output, job.paths.base), _mode(0o444, job.paths.failure_file):
        code = job.run(_obeying_modes())
    assert code == 3, job.log
    assert "PlatformError: Permission denied" in job.log
    assert "failure file could not be written" in job.log
    assert "Traceback" not in job.log


def test_no_permission_to_read_the_data(job: TrainingJob) -> None:
    path = job.paths.channel_dir("train") / "data.rec"
    with _mode(0, path):
        code = job.run(_obeying_modes())
    _failed(job, code, 3, rf"PlatformError: Permission denied: '{path}'")


def _mounted(folder: Path, mount: str) -> list[str]:
    """A command that runs another one with something mounted at `folder`, for it alone.

    Skips the test where nobody but the administrator may mount, not even in a name space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-rm"]
    command += ["sh", "-c", f'{mount} && exec "$@"', str(folder)]
    tried = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True)
    if not tried or tried.returncode != 0:
        pytest.skip("nothing can be mounted here, so no disk can be made full or read-only")
    return command


def test_no_space_left_for_the_model(job: TrainingJob) -> None:
    """The probe at the start still fits, the first model does not."""
    folder = job.paths.model_dir
    code = job.run(_mounted(folder, 'mount -t tmpfs -o size=1m tmpfs "$0"'))
    failure = rf"PlatformError: No space left on the device: '{folder}/.*VolumeSizeInGB"
    _failed(job, code, 3, failure)
    assert "validation mAP" in job.log


def test_no_space_left_from_the_start(job: TrainingJob) -> None:
    """No page is left for the probe: told before any training."""
    folder = job.paths.model_dir
    full = 'mount -t tmpfs -o size=4k tmpfs "$0" && head -c 4096 /dev/zero > "$0/full"'
    code = job.run(_mounted(folder, full))
    _failed(job, code, 3, rf"PlatformError: No space left on the device: '{folder}'")
    assert "Channel 'train' checked" not in job.log


def test_a_file_system_that_is_read_only(job: TrainingJob) -> None:
    folder = job.paths.model_dir
    code = job.run(_mounted(folder, 'mount -t tmpfs -o ro tmpfs "$0"'))
    _failed(job, code, 3, rf"PlatformError: The file system is read-only: '{folder}'")


def test_an_earlier_failure_is_forgotten(job: TrainingJob) -> None:
    job.paths.failure_file.parent.mkdir(parents=True)
    job.paths.failure_file.write_text("ClientError: of an earlier run")
    assert job.run() == 0, job.log
    assert job.failure is None

"""Several devices of one machine: CPU contexts stand for GPUs."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.world import CPU_DEVICES_VARIABLE
from tests.training_job import TrainingJob, pictures, wait_until

TWO = {CPU_DEVICES_VARIABLE: "2"}

needs_horovod = pytest.mark.skipif(
    importlib.util.find_spec("horovod") is None, reason="Horovod is not built: make horovod"
)


def _children(process: int) -> list[int]:
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(number) for file in files for number in file.read_text().split()]


def test_one_process_with_two_devices(tmp_path: Path) -> None:
    """Also where the last batch has one image for both."""
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 5), pictures(20, 3), mini_batch_size=2, epochs=2)
    assert job.run(environ=TWO) == 0, job.log[-2000:]
    assert "Training on cpu(0), cpu(1)" in job.log
    assert "An update takes in 2 images: mini_batch_size 2 on 1 machine of 2 devices" in job.log
    assert (job.paths.model_dir / "model_algo_1-0000.params").is_file()


def test_fewer_images_than_devices(tmp_path: Path) -> None:
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 2), pictures(20, 1), mini_batch_size=1)
    assert job.run(environ=TWO) == 2
    assert job.failure is not None
    assert "mini_batch_size is 1 and this machine has 2 devices" in job.failure


@needs_horovod
@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="float32"),
        pytest.param({"gradient_compression": "float16"}, id="float16 gradients"),
    ],
)
def test_a_process_for_each_device(given: Mapping[str, object], tmp_path: Path) -> None:
    job = TrainingJob(tmp_path)
    job.recordio(
        pictures(0, 5), pictures(20, 3), mini_batch_size=2, distribution="horovod", **given
    )
    assert job.run(environ=TWO) == 0, job.log[-2000:]
    assert "2 processes on 1 host train together by horovod" in job.log
    assert f"gradients travel in {given.get('gradient_compression', 'float32')}" in job.log
    assert job.log.count("validation mAP <score>") == 1
    assert (job.paths.model_dir / "model_algo_1-0000.params").is_file()


@contextmanager
def _training(base: Path) -> Iterator[tuple[TrainingJob, subprocess.Popen[bytes], list[int]]]:
    """A long job with a process for each of two devices, in training: and its workers."""
    job = TrainingJob(base)
    job.recordio(
        pictures(0, 8), pictures(20, 2), mini_batch_size=2, epochs=1000, distribution="horovod"
    )
    process = job.start(environ=TWO)
    try:
        wait_until(process, lambda: "epoch=0, validation mAP" in job.log)
        workers = _children(process.pid)
        assert len(workers) == 2
        yield job, process, workers
    finally:
        process.kill()
        process.wait()


@needs_horovod
def test_sigterm_reaches_all_of_them(tmp_path: Path) -> None:
    with _training(tmp_path) as (job, process, workers):
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, job.log[-2000:]
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
        assert (job.paths.model_dir / "model.json").is_file()


@needs_horovod
def test_none_outlives_the_supervisor(tmp_path: Path) -> None:
    with _training(tmp_path) as (_, process, workers):
        process.kill()
        process.wait()
        until = time.monotonic() + 10
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < until
            time.sleep(0.05)

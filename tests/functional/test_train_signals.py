"""SIGTERM, as the platform sends it when a job is stopped: exit code 0 within 30 seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model import artifact
from tests.fifo import Feeder
from tests.training_job import (
    TIMEOUT,
    TrainingJob,
    picture,
    pictures,
    wait_until,
    write_recordio,
)

GRACE = 30


def _stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(GRACE)


def test_training_keeps_the_best_model(tmp_path: Path) -> None:
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 2), [picture(20)], epochs=10_000)
    with job.started("#progress_metric") as process:
        begun = time.monotonic()
        assert _stop(process) == 0, job.log
        assert time.monotonic() - begun < GRACE
    assert job.failure is None
    assert "SIGTERM: training ends at the next batch." in job.log
    assert "Stopped; the best model so far stays in" in job.log
    folder = job.paths.model_dir
    assert {path.name for path in folder.iterdir()} == {
        artifact.SYMBOL_FILE,
        artifact.PARAMS_FILE,
        artifact.HYPERPARAMETERS_FILE,
        artifact.MODEL_FILE,
    }
    engine = MXNetEngine.from_folder(folder, mx.cpu())
    rows = engine.detect(np.full((1, 3, 300, 300), 127, np.uint8))
    assert rows.shape == (1, 2268, 6)
    table = (job.paths.output_data_dir / "metrics.csv").read_text().splitlines()
    assert len(table) == 1 + job.log.count("#progress_metric")


def test_training_without_a_model_yet(tmp_path: Path) -> None:
    """In the first epoch, which is long; the last word before it is about num_training_samples."""
    job = TrainingJob(tmp_path)
    job.recordio([picture(0)] * 300, [picture(20)], mini_batch_size=1, num_training_samples=1)
    with job.started("Expected number of batches: 1, did not match") as process:
        assert _stop(process) == 0, job.log
    assert job.failure is None
    assert "Stopped before the first epoch was validated: there is no model yet." in job.log
    assert not list(job.paths.model_dir.iterdir())


def test_the_gate_just_stops(tmp_path: Path) -> None:
    """A picture behind a pipe: while nobody writes into it, the gate is at work for sure."""
    job = TrainingJob(tmp_path)
    job.images(pictures(0, 3), [picture(20)])
    pipe = job.paths.channel_dir("train") / "000.jpg"
    content = pipe.read_bytes()
    pipe.unlink()
    os.mkfifo(pipe)
    process = job.start()
    try:
        writers: list[int] = []

        def gate_reads() -> bool:
            with contextlib.suppress(OSError):  # until somebody reads
                writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            return bool(writers)

        wait_until(process, gate_reads)
        process.send_signal(signal.SIGTERM)
        wait_until(process, lambda: "Stopped by SIGTERM" in job.log)
        os.write(writers[0], content[:4096])
        os.close(writers[0])
        assert process.wait(GRACE) == 0, job.log
    finally:
        process.kill()
        process.wait()
    assert "Stopped by SIGTERM before training began; there is no model." in job.log
    assert "passed the gate" not in job.log
    assert "Traceback" not in job.log
    assert job.failure is None
    assert not list(job.paths.model_dir.iterdir())


def test_ctrl_c(tmp_path: Path) -> None:
    """On a laptop: no traceback, and the exit code of shells."""
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 2), [picture(20)], epochs=10_000)
    with job.started("#progress_metric") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130, job.log
    assert "Traceback" not in job.log
    assert job.failure is None


@pytest.mark.parametrize(
    ("fed", "log"),
    [
        pytest.param((), "Metrics", id="a FIFO that never comes"),
        pytest.param((b"\x0a\x23\xd7\xce", 60.0), "Metrics", id="one that falls silent"),
    ],
)
def test_waiting_for_a_stream_stops(
    fed: tuple[bytes | float, ...], log: str, tmp_path: Path
) -> None:
    job = TrainingJob(tmp_path)
    write_recordio(job.paths.channel_dir("validation"), [picture(20)])
    pipe = {"TrainingInputMode": "Pipe"}
    job.configure({"train": pipe, "validation": "application/x-recordio"})
    with (
        Feeder(job.paths.channel_dir("train"), [fed] if fed else []),
        job.started(log) as process,
    ):
        begun = time.monotonic()
        assert _stop(process) == 0, job.log
        assert time.monotonic() - begun < GRACE / 3
    assert job.failure is None
    assert "there is no model yet" in job.log

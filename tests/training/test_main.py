"""What SIGTERM means before and during training, and what happens before MXNet is loaded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.training import main


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_before_training_the_process_ends() -> None:
    stop = StopRequest()
    stop.install()
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 0


def test_during_training_the_loop_is_asked() -> None:
    stop = StopRequest()
    stop.install()
    stop.training = True
    assert not stop.requested()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)  # impatience changes nothing
    assert stop.requested()


def test_an_earlier_failure_is_removed_first(tmp_path: Path) -> None:
    failure = tmp_path / "output" / "failure"
    failure.parent.mkdir()
    failure.write_text("of an earlier run")
    with pytest.raises(ClientError, match=r"hyperparameters\.json is missing"):
        main.train({"SAGEMAKER_BASE_DIR": str(tmp_path)})
    assert not failure.exists()


def test_a_faulty_job_is_told_before_mxnet_is_loaded(tmp_path: Path) -> None:
    """It takes seconds to load, and its threads have to be set before."""
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps({"num_classes": "x"}))
    program = (
        "import os, sys\n"
        "from sagemaker_object_detection.training.main import main\n"
        "print(main(), 'mxnet' in sys.modules, 'numpy' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"SAGEMAKER_BASE_DIR": str(tmp_path), "PYTHONPATH": "src"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines()[-1] == "2 False False", run.stdout + run.stderr

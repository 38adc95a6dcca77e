"""Training at a terminal: short lines, a bar and a table; no line for machines."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.training_job import TRAIN, TrainingJob, pictures


class Terminal:
    """A process whose standard streams are a terminal, and what it shows there."""

    def __init__(self, job: TrainingJob) -> None:
        ours, theirs = pty.openpty()
        environ = {**os.environ, "SAGEMAKER_BASE_DIR": str(job.paths.base), "COLUMNS": "120"}
        environ["TERM"] = "xterm-256color"
        command = [sys.executable, str(TRAIN)]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, start_new_session=True
        )
        os.close(theirs)
        self._ours, self.raw = ours, b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # of a terminal that nobody writes to any more
            while part := os.read(self._ours, 4096):
                self.raw += part

    @property
    def text(self) -> str:
        """Without what moves the cursor and colors."""
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw.decode(errors="replace"))
        return shown.replace("\r", "\n")

    def wait_for(self, words: str, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while words not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < until, self.text
            time.sleep(0.05)

    def wait(self, seconds: float) -> int:
        code = self.process.wait(seconds)
        self._reader.join()
        os.close(self._ours)
        return code


def test_a_bar_and_a_row_for_each_epoch(tmp_path: Path) -> None:
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 4), pictures(20, 2), epochs=2)
    terminal = Terminal(job)
    assert terminal.wait(200) == 0, terminal.text
    text = terminal.text
    for words in ("#metrics", "#quality_metric", "Final configuration", "Epoch:    0", "INFO 1"):
        assert words not in text
    (heading,) = [line for line in text.splitlines() if line.strip().startswith("epoch  ")]
    assert heading.split()[-5:] == ["mAP", "worst", "class", "images/s", "time"]
    rows = re.findall(r"^ +(\d)/2 +\d+\.\d{3} +\d+\.\d{3} +\d\.\d{3} +\S+ \d\.\d{3}", text, re.M)
    assert rows == ["1", "2"]
    assert "epoch 1/2" in text
    assert re.search(r"4/4 images", text)
    assert "Training on cpu" in text


@pytest.mark.parametrize("moment", ["Training on cpu", "epoch 1/"], ids=["data", "training"])
def test_ctrl_c(moment: str, tmp_path: Path) -> None:
    """It ends soon, and the log says what is kept."""
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 4), pictures(20, 2), epochs=500)
    terminal = Terminal(job)
    terminal.wait_for(moment)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.wait(60) in (0, 130), terminal.text
    assert "Traceback" not in terminal.text

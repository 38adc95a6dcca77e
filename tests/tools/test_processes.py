"""Children end with us, however we leave; real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sagemaker_object_detection.tools.cli import stop_on_signals
from sagemaker_object_detection.tools.demo import child

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
OWNER = """
import subprocess, sys
from pathlib import Path
from sagemaker_object_detection.tools.cli import stop_on_signals
from sagemaker_object_detection.tools.demo import child
with stop_on_signals(), child(Path(sys.argv[1]), {}, subprocess.PIPE) as process:
    for line in process.stdout:
        print(line, end="", flush=True)
"""


def program(folder: Path, code: str) -> Path:
    path = folder / "program"
    path.write_text(code)
    return path


def wait_until_gone(pid: int) -> bool:
    """Whether the process ends (or is a zombie without a parent that waits) within 10 seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_output_that_is_not_text(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff\n'); sys.exit(3)"
    with child(program(tmp_path, code), {}, subprocess.PIPE) as process:
        assert process.stdout is not None
        assert list(process.stdout) == ["\ufffd\n"]
        assert process.wait() == 3


@pytest.mark.parametrize(
    ("code", "number"), [(SLEEPER, signal.SIGTERM), (STUBBORN, signal.SIGKILL)]
)
def test_leaving_the_block_stops_the_child(
    code: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagemaker_object_detection.tools.demo._GRACE", 0.5)
    with child(program(tmp_path, code), {}, subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.poll() is None
    assert process.wait() == -number


def test_an_error_in_the_block_stops_grandchildren_too(tmp_path: Path) -> None:
    pids = []

    def fail() -> None:
        with child(program(tmp_path, FAMILY), {}, subprocess.PIPE) as process:
            assert process.stdout is not None
            pids.append(int(process.stdout.readline()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert wait_until_gone(pids[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_to_us_reach_the_children(tmp_path: Path, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(program(tmp_path, FAMILY))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.send_signal(number)
    owner.communicate(timeout=30)
    assert owner.returncode != 0
    assert wait_until_gone(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_former_handler_comes_back(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with stop_on_signals(), pytest.raises(SystemExit) as caught:
        signal.raise_signal(number)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is former


def test_a_signal_that_is_ignored_stays_so() -> None:
    """nohup starts us so."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)

"""Children end with us, however we leave; real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sagemaker_object_detection.tools.cli import stop_on_signals
from sagemaker_object_detection.tools.demo import Child

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
import sys, time
from pathlib import Path
from sagemaker_object_detection.tools.demo import Child
from sagemaker_object_detection.tools.cli import stop_on_signals
with stop_on_signals(), Child([sys.executable, "-c", sys.argv[1]], dict(), Path(sys.argv[2]),
                                echo=True) as child:
    for line in child.lines():
        pass
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


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


def test_output_is_shown_logged_and_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"
    log = tmp_path / "log"
    with Child(python(code), dict(os.environ), log, echo=True) as child:
        lines = list(child.lines())
        assert child.wait() == 3
    assert sorted(lines) == ["one\n", "two\n"]
    assert capsys.readouterr().out == "".join(lines) == log.read_text()


def test_without_echo_the_log_alone_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Child(python("print('one')"), dict(os.environ), tmp_path / "log") as child:
        assert child.wait() == 0
        with pytest.raises(ValueError, match="only a child that echoes"):
            next(child.lines())
    assert (tmp_path / "log").read_text() == "one\n"
    assert capsys.readouterr().out == ""


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff\n')"
    with Child(python(code), dict(os.environ), tmp_path / "log", echo=True) as child:
        assert list(child.lines()) == ["\ufffd\n"]


def test_the_log_is_written_as_it_comes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Child(python(SLEEPER), dict(os.environ), log, echo=True) as child:
        next(child.lines())
        assert log.read_text() == "up\n"


def test_leaving_the_block_stops_the_child(tmp_path: Path) -> None:
    with Child(python(SLEEPER), dict(os.environ), tmp_path / "log", echo=True) as child:
        next(child.lines())
        assert child.poll() is None
    assert child.wait() == -signal.SIGTERM


def test_an_error_in_the_block_stops_grandchildren_too(tmp_path: Path) -> None:
    pids = []

    def fail() -> None:
        with Child(python(FAMILY), dict(os.environ), tmp_path / "log", echo=True) as child:
            pids.append(int(next(child.lines())))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert wait_until_gone(pids[0])


def test_who_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagemaker_object_detection.tools.demo._GRACE", 0.1)
    with Child(python(STUBBORN), dict(os.environ), tmp_path / "log", echo=True) as child:
        next(child.lines())
    assert child.wait() == -signal.SIGKILL


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Child([str(tmp_path / "nothing")], {}, tmp_path / "log")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_to_us_reach_the_children(tmp_path: Path, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [*python(OWNER), FAMILY, str(tmp_path / "log")],
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

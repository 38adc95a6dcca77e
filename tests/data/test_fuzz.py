"""Damaged inputs end well: a few of the cases of benchmarks/fuzz.py, and that it sees bad ends."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.isolated import Ended, Limits, run_all
from sagemaker_object_detection.platform.errors import ClientError
from tests.data import samples

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "sagemaker_object_detection"
CASES = 42


def test_damaged_inputs_pass_or_are_refused() -> None:
    """All kinds of files; seeds that are not among the 2,000 of the script itself."""
    command = [sys.executable, "-W", "ignore", ROOT / "benchmarks" / "fuzz.py"]
    command += ["--first", "100000", "--cases", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{CASES} cases" in done.stdout


def _end(seed: int, folder: Path, log: Path) -> tuple[str, str]:
    """What a case may do to its process, by its seed."""
    if seed == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if seed == 2:
        time.sleep(60)
    if seed == 3:
        return "passed", str(len(os.urandom(2**20) * 80))
    return "passed", log.read_text() + str(list(folder.iterdir()))


def test_processes_that_end_badly_are_seen_and_replaced(tmp_path: Path) -> None:
    told: list[Ended] = []
    run_all([0, 1, 2, 3, 4], _end, tmp_path, 1, Limits(seconds=2, mib=50), told.append)
    assert [(ended.seed, ended.result) for ended in told] == [
        (0, "passed"),
        (1, "a crash"),
        (2, "a hang"),
        (3, "too much memory"),
        (4, "passed"),
    ]
    assert "-11" in told[1].detail


def _write_outside(base: Path, training: bool) -> None:
    (base / "input" / "data" / "train" / "new").write_text("")


def _raise(error: Exception) -> Callable[[Path, bool], None]:
    def read(base: Path, training: bool) -> None:
        raise error

    return read


def _not_json(base: Path, training: bool) -> None:
    folder = base / "output" / "data"
    folder.mkdir(parents=True)
    (folder / "data_report.json").write_text('{"share": NaN}')


@pytest.mark.parametrize(
    ("read", "result"),
    [
        pytest.param(_raise(ClientError("train: wrong.")), "refused", id="refusing is fine"),
        pytest.param(_raise(KeyError("id")), "another error", id="an error that is not for users"),
        pytest.param(_raise(MemoryError()), "another error", id="no memory left"),
        pytest.param(_raise(ClientError("train\n" * 9999)), "an error that is", id="a whole file"),
        pytest.param(_raise(ClientError("Wrong.")), "an error that is", id="no file is named"),
        pytest.param(_write_outside, "files changed", id="a file among the inputs"),
        pytest.param(_not_json, "another error", id="NaN is no JSON"),
        pytest.param(lambda base, training: None, "another error", id="no report"),
    ],
)
def test_bad_ends_of_a_case_are_seen(
    read: Callable[[Path, bool], None], result: str, fuzz: ModuleType, tmp_path: Path
) -> None:
    fuzz._read = read
    assert fuzz.run_case(0, tmp_path)[0].startswith(result)


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with its neighbours, for one test."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.delitem(sys.modules, "fuzz", raising=False)
    module = importlib.import_module("fuzz")
    monkeypatch.setattr(module, "_read", module._read)  # put back afterwards
    monkeypatch.setattr(module.logs, "setup", lambda: None)
    return module


HUGE = "9" * 5000
IN_A_PROCESS = """
import sys
from pathlib import Path
from sagemaker_object_detection.data.sources.coco import CocoSource
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError
folder = Path(sys.argv[1])
try:
    coco = files.coco_file(folder / "notes")
    print("no COCO file" if coco is None else len(CocoSource(folder / "images", coco)))
except ClientError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        pytest.param(('"id": 0', f'"id": {HUGE}'), "refused", id="the id of an image"),
        pytest.param(('"bbox": [', f'"bbox": [{HUGE}, '), "refused", id="inside of a list"),
        pytest.param(('"categories"', f'"a": [{HUGE}], "categories"'), "1", id="unused"),
        pytest.param(('"categories"', f'"a": {HUGE}.5, "categories"'), "1", id="a fraction"),
        pytest.param(('"categories"', f'"a": 1e{HUGE}, "categories"'), "1", id="exponent"),
        pytest.param(('"images"', f'"a": {HUGE}, "images"'), "1", id="the first thing"),
    ],
)
def test_a_number_of_thousands_of_digits_does_not_end_the_process(
    replaced: tuple[str, str], said: str, tmp_path: Path
) -> None:
    """Parsers written in C crash on some of these; what is not used may be anything."""
    notes = tmp_path / "notes" / "coco.json"
    samples.write_coco(tmp_path / "images", notes, [samples.Sample()])
    text = notes.read_text()
    assert replaced[0] in text
    notes.write_text(text.replace(*replaced, 1))
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(said)
    assert len(done.stdout) < 1000

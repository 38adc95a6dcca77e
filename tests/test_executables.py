"""`train` and `serve` themselves: usage, and what they say to a Python that cannot run them."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("program", ["train", "serve"])
def test_old_pythons_can_read_it(program: str) -> None:
    ast.parse((REPOSITORY / program).read_text(), feature_version=(3, 4))


@pytest.mark.parametrize("program", ["train", "serve"])
@pytest.mark.parametrize("version", [(3, 4), (3, 10), (3, 12), (4, 11)], ids=str)
def test_another_python_is_told(
    program: str, version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    monkeypatch.setattr(sys, "version", "{}.{}.0 (main)".format(*version))
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(REPOSITORY / program), run_name="__main__")
    assert str(exit_.value) == (
        f"{program}: needs Python 3.11 and was started by Python {version[0]}.{version[1]}.0. "
        f"In a checkout run 'make setup', then '.venv/bin/python {program}'."
    )


@pytest.mark.parametrize("program", ["train", "serve"])
def test_a_python_without_the_libraries_is_told(program: str) -> None:
    """As Debian's own, which is of the right version."""
    command = [sys.executable, "-I", "-S", REPOSITORY / program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        rf"{program}: No module named '\w+'\. In a checkout run 'make setup', then "
        rf"'\.venv/bin/python {program}'\.\n",
        done.stderr,
    )


RUNNABLE = [
    pytest.param("train", [REPOSITORY / "train"], id="train"),
    pytest.param("serve", [REPOSITORY / "serve"], id="serve"),
    pytest.param("train", ["-m", "sagemaker_object_detection.training.main"], id="training.main"),
    pytest.param("serve", ["-m", "sagemaker_object_detection.serving.main"], id="serving.main"),
]


def _run(*command: object, base: Path) -> subprocess.CompletedProcess[str]:
    """With every import in stderr."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", *map(str, command)],
        env={"SAGEMAKER_BASE_DIR": str(base), "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize(("program", "command"), RUNNABLE)
def test_usage(program: str, command: list[object], option: str, tmp_path: Path) -> None:
    """Fast: no library of numbers on GPUs is loaded for it."""
    done = _run(*command, option, base=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: {program} [-h]")
    assert "SAGEMAKER_BASE_DIR" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"mxnet", "openvino"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["--epochs=3", "now", "-v"])
@pytest.mark.parametrize("program", ["train", "serve"])
def test_arguments_are_refused(program: str, argument: str, tmp_path: Path) -> None:
    done = _run(REPOSITORY / program, argument, base=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    told = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert told == [
        f"usage: {program} [-h]",
        f"{program}: error: unrecognized arguments: {argument}",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("program", "command"), RUNNABLE)
def test_without_arguments_they_run(program: str, command: list[object], tmp_path: Path) -> None:
    done = _run(*command, base=tmp_path)
    assert done.returncode != 0
    missing = {"train": "hyperparameters.json is missing", "serve": "does not exist"}
    assert missing[program] in done.stdout + done.stderr

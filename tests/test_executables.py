"""`train` and `serve` themselves: what they say to a Python that cannot run them."""

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

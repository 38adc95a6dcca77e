"""The commands of docs/sagemaker/README.md, with --print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.sagemaker.scripts import FOLDER, IMAGE, ROLE, calls_of

SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
PROGRAM = "python docs/sagemaker/"


def commands() -> list[str]:
    """Every line that runs a script, whole."""
    blocks = SHELL.findall((FOLDER / "README.md").read_text())
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(PROGRAM)]


@pytest.mark.parametrize(
    "command",
    [c for c in commands() if "train_sdk" not in c],
    ids=lambda c: " ".join(c.split()[1:]),
)
def test_every_command_is_one(command: str, tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(b"a picture")
    script = command.removeprefix(PROGRAM)
    line = f"{shlex.quote(sys.executable)} {shlex.quote(str(FOLDER))}/{script} --print"
    environ = {"ROLE": ROLE, "IMAGE": IMAGE, "BUCKET": "b", "MODEL": "s3://b/model.tar.gz"}
    done = subprocess.run(
        ["bash", "-euc", line],
        cwd=tmp_path,
        env={**environ, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert calls_of(done.stdout)


def test_every_script_has_a_command() -> None:
    run = {command.removeprefix(PROGRAM).split()[0] for command in commands()}
    assert run == {path.name for path in FOLDER.glob("*.py")} - {"shared.py"}

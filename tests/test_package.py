"""The wheel, made of the source distribution, works outside of any checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "sagemaker_object_detection"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]


def run(*command: object, cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed in; its libraries are those of this Python."""
    place = tmp_path_factory.mktemp("package")
    source = place / "source"
    shutil.copytree(
        REPOSITORY / "src",
        source / "src",
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(REPOSITORY / name, source)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(place)!r})"
    run(sys.executable, "-c", build, cwd=source)
    archive = next(place.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(place / "unpacked", filter="data")
    offline = ["--no-deps", "--no-index", "--no-cache-dir"]
    unpacked = next((place / "unpacked").iterdir())
    run(*PIP, "wheel", *offline, "--no-build-isolation", "-w", place, unpacked, cwd=place)
    wheel = next(place.glob("*.whl"))
    run(*PIP, "install", *offline, "--target", place / "installed", wheel, cwd=place)
    return place / "installed"


def test_nothing_is_missing(installed: Path) -> None:
    def files(folder: Path) -> set[str]:
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {str(path) for path in found if "__pycache__" not in path.parts}

    assert files(installed / PACKAGE) == files(REPOSITORY / "src" / PACKAGE)


def test_the_command_line_and_the_api_work(installed: Path, tmp_path: Path) -> None:
    environ = {"PYTHONPATH": str(installed)}
    program = installed / "bin" / "object-detection"
    assert "Train a detector" in run(sys.executable, program, "--help", cwd=tmp_path, **environ)
    assert "--epochs" in run(sys.executable, program, "train", "--help", cwd=tmp_path, **environ)
    code = f"import {PACKAGE} as p; print(p.load.__module__, p.train.__module__, p.__file__)"
    told = run(sys.executable, "-c", code, cwd=tmp_path, **environ).split()
    assert told[:2] == [f"{PACKAGE}.api"] * 2
    assert Path(told[2]).is_relative_to(installed)

"""CUDA's libraries from a folder, by empty libraries that link each other as NVIDIA's do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "container/add-cuda.sh"
PARTS = [f"libcudnn_{part}.so.8" for part in ("ops_infer", "ops_train", "cnn_infer", "cnn_train")]

NAMES = ["libcudart.so.10.2", "libcublas.so.10", "libcudnn.so.8", *PARTS]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def _library(file: Path, soname: str, *linked: Path) -> Path:
    """An empty library that needs others, as `ldd` sees it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-nostdlib", "-Wl,--no-as-needed", f"-Wl,-soname,{soname}"]
    command += ["-x", "c", "/dev/null", "-x", "none", *map(str, linked), "-o", str(file)]
    subprocess.run(command, check=True)
    return file


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Packages with an MXNet that links CUDA and the driver; CUDA is in `given`."""
    made = [_library(tmp_path / "given/some/package" / f"{name}.89", name) for name in NAMES[1:]]
    # A library of CUDA that links another.
    runtime = _library(tmp_path / "given/libcudart.so.10.2.89", NAMES[0], made[0])
    driver = _library(tmp_path / "driver/libcuda.so.1", "libcuda.so.1")
    site = tmp_path / "site"
    _library(site / "mxnet/libmxnet.so", "libmxnet.so", runtime, made[1], driver)
    return site


def _add(site: Path) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), str(site.parent / "given"), str(site)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_are_found_by_the_names_that_they_are_linked_by(site: Path) -> None:
    added = _add(site)
    assert (added.returncode, added.stderr) == (0, "")
    folder = site / "nvidia/cuda/lib"
    assert {file.name for file in folder.iterdir() if file.is_symlink()} == set(NAMES)
    assert {file.name for file in folder.iterdir()} == {*NAMES, *(f"{name}.89" for name in NAMES)}


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param(["libcudart.so.10.2"], id="linked by MXNet"),
        pytest.param(["libcublas.so.10"], id="linked by one of them"),
        pytest.param(PARTS[2:], id="loaded by cuDNN"),
        pytest.param(sorted(set(NAMES) - {"libcublas.so.10"}), id="all that can be seen"),
    ],
)
def test_what_is_missing_is_named(missing: list[str], site: Path) -> None:
    for name in missing:
        (file,) = (site.parent / "given").rglob(f"{name}.89")
        file.unlink()
    added = _add(site)
    assert added.returncode == 1
    assert f"lacks {' '.join(sorted(missing))}; its README.md says where" in added.stderr

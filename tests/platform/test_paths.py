"""The /opt/ml tree, wherever it lies."""

import os
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import PlatformError, as_job_error
from sagemaker_object_detection.platform.paths import Paths, ensure_writable


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("config_dir", "/opt/ml/input/config"),
        ("hyperparameters_file", "/opt/ml/input/config/hyperparameters.json"),
        ("input_data_config_file", "/opt/ml/input/config/inputdataconfig.json"),
        ("resource_config_file", "/opt/ml/input/config/resourceconfig.json"),
        ("checkpoint_config_file", "/opt/ml/input/config/checkpointconfig.json"),
        ("data_dir", "/opt/ml/input/data"),
        ("model_dir", "/opt/ml/model"),
        ("output_data_dir", "/opt/ml/output/data"),
        ("failure_file", "/opt/ml/output/failure"),
    ],
)
def test_the_platforms_layout(attribute: str, expected: str) -> None:
    assert getattr(Paths.from_environment({}), attribute) == Path(expected)


def test_a_channel_has_its_folder() -> None:
    assert Paths(Path("/opt/ml")).channel_dir("train") == Path("/opt/ml/input/data/train")


@pytest.mark.parametrize(
    ("environ", "base"),
    [
        pytest.param({}, "/opt/ml", id="unset: in a container"),
        pytest.param({"SAGEMAKER_BASE_DIR": ""}, "/opt/ml", id="empty counts as unset"),
        pytest.param({"SAGEMAKER_BASE_DIR": "/a/b"}, "/a/b", id="absolute"),
        pytest.param(
            {"SAGEMAKER_BASE_DIR": "job"}, f"{Path.cwd()}/job", id="relative to where one stands"
        ),
        pytest.param({"SAGEMAKER_BASE_DIR": "~/job"}, f"{Path.home()}/job", id="home folder"),
    ],
)
def test_base_directory(environ: dict[str, str], base: str) -> None:
    assert str(Paths.from_environment(environ).base) == base


def test_ensure_writable_makes_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    ensure_writable(tmp_path / "a" / "b")
    ensure_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_ensure_writable_names_the_folder_that_is_not() -> None:
    folder = Path("/proc/self")
    with pytest.raises(OSError, match="/proc/self") as caught:
        ensure_writable(folder)
    assert caught.value.filename == "/proc/self"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_the_platforms_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as caught:
        ensure_writable(tmp_path)
    failure = as_job_error(caught.value)
    assert isinstance(failure, PlatformError)
    assert str(tmp_path) in str(failure)

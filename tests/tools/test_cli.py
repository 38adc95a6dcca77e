"""The command line: what it prints, and how it fails."""

import errno
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection import __version__
from sagemaker_object_detection.platform.logs import METRICS
from sagemaker_object_detection.tools import cli
from tests.tools.format_trees import annotation, sample, write
from tests.tools.voc_tree import write_voc

ONE = sample("a.jpg", (40, 30), ("dog", (1, 2, 30, 20), False))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_version() -> None:
    assert run("--version").output == f"object-detection, version {__version__}\n"


def test_help_lists_every_command_and_imports_none() -> None:
    program = (
        "import sys; from sagemaker_object_detection.tools import cli; "
        "cli.main(['--help'], standalone_mode=False); print('numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.endswith("False\n"), run.stderr
    assert all(f"  {name} " in run.stdout for name in (*cli.COMMANDS, "metrics"))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_is_where_its_name_says(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: main {name} ")


@pytest.mark.parametrize("share", ["nan", "-0.1", "1.5"])
def test_shares_that_are_none(share: str, tmp_path: Path) -> None:
    result = run("validate", tmp_path, "--max-dropped-boxes", share)
    assert result.exit_code == 2
    assert f"{share} is not in the range 0<=x<=1." in result.output


def test_metrics_as_json_are_metric_definitions() -> None:
    result = run("metrics", "--json")
    assert result.exit_code == 0
    assert json.loads(result.output) == [{"Name": m.name, "Regex": m.regex} for m in METRICS]


def test_metrics_as_text() -> None:
    lines = run("metrics").output.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[m.name, m.regex] for m in METRICS]


def test_convert(tmp_path: Path) -> None:
    cat = ("cat", (1, 1, 51, 41), False)
    source = write_voc(tmp_path / "voc", {"train": {"a": [cat]}, "val": {"b": []}})
    options = ("--from", "voc", "--to", "sagemaker-json", "--classes", "dog, cat")
    splits = ("--split", "train", "--split", "val=validation")
    result = run("convert", *options, *splits, source, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "num_classes=2 num_training_samples=1" in result.output
    assert (tmp_path / "out" / "classes.txt").read_text() == "dog\ncat\n"
    assert (tmp_path / "out" / "validation_annotation" / "b.json").is_file()


def test_convert_a_manifest_with_several_annotations(tmp_path: Path) -> None:
    line = {"source-ref": "s3://b/a.jpg", "first": {"annotations": 1}, "second": annotation(ONE)}
    write(tmp_path / "train.manifest", json.dumps(line))
    write(tmp_path / "a.jpg", ONE.data)
    options = ("--attribute-names", "source-ref, second", "--from", "manifest", "--split", "train")
    result = run("convert", *options, tmp_path, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "0 class_0" in result.output


USAGE = [
    pytest.param(["--split", "=train"], "'=train' is not NAME or NAME=CHANNEL", id="no name"),
    pytest.param(["--split", "a="], "'a=' is not NAME or NAME=CHANNEL", id="no channel"),
    pytest.param(["--split", "a", "--split", "a=a"], "'a=a' is given twice", id="a split twice"),
    pytest.param([], "Missing option '--split'", id="no split"),
    pytest.param(
        ["--split", "a", "--classes", "a,,b"],
        "'a,,b' holds something that is not a name",
        id="empty class",
    ),
    pytest.param(
        ["--split", "a", "--attribute-names", "a,b"], "only manifests have attributes", id="VOC"
    ),
    pytest.param(
        ["--split", "a", "--from", "manifest", "--attribute-names", "a"],
        "'a' is not two names with a comma",
        id="one attribute",
    ),
    pytest.param(["--split", "a", "--to", "tfrecord"], "'tfrecord' is not one of", id="format"),
]


@pytest.mark.parametrize(("options", "what"), USAGE)
def test_wrong_use(tmp_path: Path, options: list[str], what: str) -> None:
    result = run("convert", "--from", "voc", *options, tmp_path, tmp_path / "out")
    assert result.exit_code == 2
    assert what in result.output


def test_a_fault_of_the_data_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    result = run("convert", "--from", "voc", "--split", "a", tmp_path, tmp_path / "out")
    assert result.exit_code == 2
    assert result.output.startswith("ClientError: ")
    assert "holds no images" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("convert", "--from", "voc", "--split", "train"), id="convert"),
        pytest.param(("validate", "--html"), id="validate"),
        pytest.param(("demo", "--folder"), id="demo"),
    ],
)
def test_an_output_below_a_file(command: tuple[str, ...], tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", {"train": {"a": [("cat", (1, 1, 51, 41), False)]}})
    file = tmp_path / "file"
    write(file, "not a folder")
    paths = {
        "convert": (source, file / "out"),
        "validate": (file / "a.html", source),
        "demo": (file / "out",),
    }
    result = run(*command, *paths[command[0]])
    assert result.exit_code == 2, result.output
    assert str(file) in result.output
    assert result.output.endswith("Give another path.\n")


def test_a_full_disk_is_the_platforms_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "a.rec"))

    monkeypatch.setattr("sagemaker_object_detection.tools.convert.convert", convert)
    result = run("convert", "--from", "voc", "--split", "a", tmp_path, tmp_path / "out")
    assert result.exit_code == 3
    assert result.output.startswith("PlatformError: No space left")
    assert "a.rec" in result.output


def test_lack_of_memory_is_told_as_training_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("sagemaker_object_detection.tools.convert.convert", convert)
    result = run("convert", "--from", "voc", "--split", "a", tmp_path, tmp_path / "out")
    assert result.exit_code == 2
    assert result.output.startswith("ClientError: Out of memory. ")


def test_ctrl_c_has_the_exit_code_that_shells_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sagemaker_object_detection.tools.convert.convert", convert)
    result = run("convert", "--from", "voc", "--split", "a", tmp_path, tmp_path / "out")
    assert (result.exit_code, result.output) == (130, "Interrupted.\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_stop_clears_away(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model.tar.gz is unpacked into a temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "model.json").touch()
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "model.json", "model.json")

    def read(folder: Path, *_: object) -> None:
        assert folder.parent == tmp_path / "scratch"
        os.kill(os.getpid(), number)

    monkeypatch.setattr("sagemaker_object_detection.tools.models.make_plan", read)
    result = run("evaluate", tmp_path / "model.tar.gz", f"data={tmp_path}")
    assert result.exit_code == 128 + number
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("validate", "DATA", "--json", "LONG"), id="to write to"),
        pytest.param(("validate", "LONG"), id="to read from"),
    ],
)
def test_a_path_that_is_too_long(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Such as a list of files in quotation marks."""
    long = "a" * 300
    paths = {"DATA": str(tmp_path), "LONG": long}
    result = run(*(paths.get(argument, argument) for argument in arguments))
    assert result.exit_code == 2
    assert result.output == f"ClientError: {long}: File name too long. Give another path.\n"


def test_a_fault_of_ours_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(*_: object, **__: object) -> None:
        raise OSError("something nobody thought of")

    monkeypatch.setattr("sagemaker_object_detection.tools.convert.convert", convert)
    result = run("convert", "--from", "voc", "--split", "a", tmp_path, tmp_path / "out")
    assert isinstance(result.exception, OSError)

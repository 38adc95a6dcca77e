"""`object-detection export` on folders and archives."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.tools.cli import main
from tests import service_artifact, tiny_model
from tests.orientation import stored, with_tag
from tests.service_network import Service


def _export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def _archive(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for file in folder.iterdir():
            tar.add(file, file.name)
    return path


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "model.tar.gz"])
def test_ours(tmp_path: Path, packed: bool) -> None:
    model = tiny_model.write(tmp_path / "model")
    if packed:
        model = _archive(model, tmp_path / "model.tar.gz")
    out = tmp_path / "new" / "detector.onnx"
    result = _export("--onnx", model, out)
    assert result.exit_code == 0, result.output
    assert result.output == f"Wrote {out}: 2 classes, up to 16 detections a picture.\n"
    assert [path.name for path in out.parent.iterdir()] == ["detector.onnx"]
    picture = tiny_model.picture({(1, 2): "blue"}, tiny_model.SIDE, tiny_model.SIDE)
    planes = picture.transpose(2, 0, 1)[None].astype(np.float32)
    (rows,) = onnxruntime.InferenceSession(str(out)).run(None, {"data": planes})
    np.testing.assert_allclose(rows[0, 0, 2:], [0.25, 0.5, 0.5, 0.75], atol=1e-6)
    assert rows[0, 0, 0] == 1
    texts = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert texts["class_names"] == '["red", "blue"]'


def test_the_services_own(tmp_path: Path) -> None:
    service = Service("resnet-50", 2, 300, width=1 / 16)
    folder = service_artifact.write(tmp_path / "model", service)
    result = _export(folder, tmp_path / "detector.onnx")
    assert result.exit_code == 0, result.output
    assert "2 classes, up to 400 detections" in result.output
    texts = {p.key: p.value for p in onnx.load(tmp_path / "detector.onnx").metadata_props}
    assert texts["class_names"] == '["class_0", "class_1"]'


def _nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _damaged(folder: Path) -> None:
    (folder / artifact.PARAMS_FILE).write_bytes(b"no arrays")


def _no_symbol(folder: Path) -> None:
    (folder / artifact.SYMBOL_FILE).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_nothing, "must hold one folder with a file *-symbol.json"),
        (_damaged, "is not a parameter file of MXNet or is damaged"),
        (_no_symbol, "lacks model_algo_1-symbol.json"),
    ],
)
def test_a_model_that_cannot_be_used(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tiny_model.write(tmp_path / "model")
    damage(folder)
    result = _export("--onnx", folder, tmp_path / "detector.onnx")
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "detector.onnx").exists()


@pytest.mark.parametrize("out", ["model/model.onnx", "model/sub/../model.json", "model.tar.gz"])
def test_the_model_is_not_written_over(tmp_path: Path, out: str) -> None:
    """Endpoints load model.onnx, which has no decoding inside."""
    model = tiny_model.write(tmp_path / "model")
    (model / "sub").mkdir()
    archive = _archive(model, tmp_path / "model.tar.gz")
    before = archive.read_bytes()
    result = _export(archive if out == archive.name else model, tmp_path / out)
    assert result.exit_code == 2
    assert result.output == (
        f"ClientError: {tmp_path / out} is a file of the model itself, which would be written "
        "over. Give another path.\n"
    )
    assert archive.read_bytes() == before
    assert not (model / artifact.ONNX_FILE).exists()


def test_another_file_beside_the_model(tmp_path: Path) -> None:
    model = tiny_model.write(tmp_path / "model")
    assert _export(model, model / "detector.onnx").exit_code == 0


def test_the_program_in_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text()
    program = text.partition("```python\n")[2].partition("```")[0]
    model = tiny_model.write(tmp_path / "model")
    assert _export("--onnx", model, tmp_path / "detector.onnx").exit_code == 0
    picture = tiny_model.picture({(1, 2): "blue", (3, 0): "red"}, 640, 480)
    tagged = with_tag(tiny_model.encoded(stored(picture, 6), ".jpg"), 6)
    (tmp_path / "picture.jpg").write_bytes(tagged)
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    lines = sorted(capsys.readouterr().out.splitlines())
    assert [line.partition(" ")[0] for line in lines] == ["blue", "red"]
    assert lines[0].endswith("[160. 240. 320. 360.]")


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    result = _export("--onnx", tmp_path / "nowhere", tmp_path / "detector.onnx")
    assert result.exit_code == 2
    assert "does not exist" in result.output

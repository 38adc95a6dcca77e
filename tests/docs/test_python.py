"""The examples of docs/python.md run, one after the other."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sagemaker_object_detection.tools import training_job
from tests import tiny_model
from tests.tools.format_trees import sample, write_tree

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "python.md"


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(paths: training_job.Paths) -> int:
        tiny_model.write(paths.model_dir)
        return 0

    supervision = ModuleType("supervision")
    supervision.Detections = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", supervision)
    monkeypatch.setattr(training_job, "run", run)
    monkeypatch.chdir(tmp_path)
    tiny_model.write(tmp_path / "runs/first/model")
    image = tiny_model.encoded(tiny_model.picture({(0, 0): "red"}), ".jpg")
    (tmp_path / "street.jpg").write_bytes(image)
    one = sample("a.jpg", (40, 30), ("dog", (1, 2, 30, 20), False))
    write_tree("voc", tmp_path / "dataset", {"train": [one], "val": [one]})

    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.M | re.S)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(DOCUMENT), "exec"), names)
    assert len(blocks) == 5
    assert (tmp_path / "annotated.jpg").is_file()
    assert names["detections"].xyxy.shape == (1, 4)
    assert names["model"] == tmp_path / "runs/second/model"
    printed = capsys.readouterr().out
    assert printed.startswith("red ")
    assert "There is no model at runs/missing" in printed

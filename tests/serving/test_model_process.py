"""Processes of models, real ones."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from sagemaker_object_detection.inference.conversion import ConversionKilled, convert
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.serving import model_process
from sagemaker_object_detection.serving.batching import (
    InsufficientMemory,
    ModelFailed,
    UnusableModel,
)
from sagemaker_object_detection.serving.engines import load_engine, make_plan
from sagemaker_object_detection.serving.model_process import ModelProcess
from sagemaker_object_detection.serving.settings import Settings
from tests import tiny_model

ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1", "OBJECT_DETECTION_PRECISION": "float32"}
PICTURES = np.random.default_rng(0).integers(
    0, 256, (2, 3, tiny_model.SIDE, tiny_model.SIDE), np.uint8
)

Make = Callable[..., ModelProcess]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact with its twin, which loads fast."""
    folder = tiny_model.write(tmp_path_factory.mktemp("models") / "tiny")
    (folder / artifact.ONNX_FILE).write_bytes(convert(folder, ENVIRON).onnx)
    return folder


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    made: list[ModelProcess] = []

    def make(folder: Path = folder, patience: float = 30.0) -> ModelProcess:
        made.append(ModelProcess(folder, ENVIRON, patience))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def _gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_it_answers_as_the_engine_in_this_process(make: Make, folder: Path) -> None:
    engine = make().start()
    plan = make_plan(folder, Settings(precision="float32"), ENVIRON)
    here = load_engine(plan, Settings(precision="float32"), 1)
    np.testing.assert_array_equal(engine.detect(PICTURES), here.detect(PICTURES))
    assert (engine.class_names, engine.image_shape) == (tiny_model.CLASS_NAMES, tiny_model.SIDE)
    assert engine.batch_sizes == here.batch_sizes


def test_close_ends_the_process(make: Make) -> None:
    engine = make().start()
    pid = engine.pid
    assert pid is not None
    engine.close()
    engine.close()
    assert _gone(pid)
    with pytest.raises(ModelFailed, match="unloaded"):
        engine.detect(PICTURES)


def test_without_a_twin(make: Make, tmp_path: Path) -> None:
    engine = make(tiny_model.write(tmp_path / "tiny")).start()
    assert engine.detect(PICTURES).shape[0] == 2


def _no_model(folder: Path) -> None:
    (folder / artifact.MODEL_FILE).write_text("{}")


def _no_onnx(folder: Path) -> None:
    (folder / artifact.ONNX_FILE).write_bytes(b"\x08\x07garbage")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        pytest.param(_no_model, "format_version", id="a bad model.json"),
        pytest.param(_no_onnx, "not an ONNX model or is damaged", id="a bad twin"),
        pytest.param(_empty, "The model cannot be used", id="nothing in it"),
    ],
)
def test_unusable(
    make: Make, tmp_path: Path, folder: Path, damage: Callable[[Path], None], what: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    damage(copy)
    engine = make(copy)
    with pytest.raises(UnusableModel, match=what):
        engine.start()
    assert engine.pid is None


@pytest.mark.parametrize(
    ("place", "fits"),
    [pytest.param("weights.bin", True, id="inside"), pytest.param("../w.bin", False, id="outside")],
)
def test_weights_in_a_file_beside_the_twin(
    make: Make, tmp_path: Path, folder: Path, place: str, fits: bool
) -> None:
    """An ONNX file can name files; OpenVINO is relied on to read none outside of the folder."""
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / artifact.MODEL_FILE).write_bytes((folder / artifact.MODEL_FILE).read_bytes())
    graph = onnx.load(folder / artifact.ONNX_FILE)
    weights = next(one for one in graph.graph.initializer if one.name == "class_weight")
    (copy / place).write_bytes(numpy_helper.to_array(weights).tobytes())
    weights.ClearField("raw_data")
    weights.ClearField("float_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", place
    (copy / artifact.ONNX_FILE).write_bytes(graph.SerializeToString())
    if fits:
        assert make(copy).start().detect(PICTURES).shape[0] == 2
        return
    with pytest.raises(UnusableModel, match="is outside the base directory"):
        make(copy).start()


def test_a_wrong_picture_is_a_failure_and_no_end(make: Make) -> None:
    engine = make().start()
    pid = engine.pid
    with pytest.raises(ModelFailed, match="ValueError"):
        engine.detect(PICTURES[:, :, :5])
    assert engine.detect(PICTURES).shape[0] == 2
    assert engine.pid == pid


@pytest.mark.parametrize(
    ("number", "kind", "what"),
    [
        pytest.param(signal.SIGSEGV, ModelFailed, "SIGSEGV", id="a crash"),
        pytest.param(signal.SIGKILL, InsufficientMemory, "memory is short", id="out of memory"),
    ],
)
def test_a_process_that_ended_is_started_again(
    make: Make, number: signal.Signals, kind: type[Exception], what: str
) -> None:
    engine = make().start()
    pid = engine.pid
    assert pid is not None
    os.kill(pid, number)
    with pytest.raises(kind, match=what):
        engine.detect(PICTURES)
    assert _gone(pid)
    assert engine.image_shape == tiny_model.SIDE  # other threads ask, and start nothing
    assert engine.pid is None
    assert engine.detect(PICTURES).shape[0] == 2


@pytest.mark.parametrize(
    "planes",
    [
        pytest.param(PICTURES, id="while it is to answer"),
        pytest.param(np.zeros((1, 3, 1024, 1024), np.uint8), id="while it is to receive"),
    ],
)
def test_a_process_that_hangs_is_ended(make: Make, planes: npt.NDArray[np.uint8]) -> None:
    engine = make(patience=0.5).start()
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ModelFailed, match="too long"):
        engine.detect(planes)
    assert _gone(pid)


def test_loading_takes_too_long(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_process, "LOAD_PATIENCE", 0.05)
    engine = make()
    with pytest.raises(ModelFailed, match="too long"):
        engine.start()
    assert engine.pid is None


def _raised_by_start(engine: ModelProcess, meanwhile: Callable[[int], None]) -> list[Exception]:
    """What start raises when something is done while it waits for the process."""
    raised: list[Exception] = []

    def start() -> None:
        try:
            engine.start()
        except (ModelFailed, InsufficientMemory, UnusableModel) as error:
            raised.append(error)

    loading = threading.Thread(target=start)
    loading.start()
    pause = threading.Event()
    while (pid := engine.pid) is None:
        pause.wait(0.01)
    meanwhile(pid)
    loading.join(10)
    assert engine.pid is None
    return raised


def test_close_ends_a_load(make: Make, tmp_path: Path) -> None:
    engine = make(tiny_model.write(tmp_path / "slow"))  # it has to be converted
    raised = _raised_by_start(engine, lambda _: engine.close())
    assert [str(error) for error in raised] == ["the model is being unloaded"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        pytest.param(signal.SIGKILL, InsufficientMemory, id="out of memory"),
        pytest.param(signal.SIGSEGV, UnusableModel, id="a crash: nothing but the artefact is new"),
    ],
)
def test_ended_while_it_loads(
    make: Make, tmp_path: Path, number: signal.Signals, kind: type[Exception]
) -> None:
    engine = make(tiny_model.write(tmp_path / "slow"))
    raised = _raised_by_start(engine, lambda pid: os.kill(pid, number))
    assert [type(error) for error in raised] == [kind]


def test_killed_while_it_converts(make: Make, tmp_path: Path) -> None:
    """The process that the process of the model has started for it."""

    def kill(pid: int) -> None:
        pause = threading.Event()
        while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            pause.wait(0.01)
        os.kill(int(children[0]), signal.SIGKILL)

    raised = _raised_by_start(make(tiny_model.write(tmp_path / "slow")), kill)
    assert [type(error) for error in raised] == [InsufficientMemory]


def test_the_process_ends_with_the_thread_that_started_it(make: Make) -> None:
    engine = make()
    starter = threading.Thread(target=engine.start)
    starter.start()
    starter.join()
    pid = engine.pid
    assert pid is not None
    with pytest.raises(InsufficientMemory):
        engine.detect(PICTURES)
    assert _gone(pid)


def test_the_system_ends_a_model_before_the_server(make: Make) -> None:
    pid = make().start().pid
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"


class MXNetError(RuntimeError):
    """As MXNet's own: told by its name, without importing MXNet."""


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        pytest.param(MemoryError(), InsufficientMemory, id="no memory"),
        pytest.param(
            MXNetError("Failed to allocate CPU Memory"), InsufficientMemory, id="nor MXNet"
        ),
        pytest.param(ConversionKilled("killed"), InsufficientMemory, id="nor to convert"),
        pytest.param(PermissionError(13, "", "x"), UnusableModel, id="not readable"),
        pytest.param(RuntimeError("odd"), UnusableModel, id="anything else"),
    ],
)
def test_what_the_process_tells_of_a_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, fault: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(model_process, "set_threads", lambda environ: 1)  # MXNet is here already
    monkeypatch.setattr(model_process, "make_plan", fail)
    ours, theirs = Pipe()
    model_process.run(theirs, folder)
    assert type(ours.recv()) is fault

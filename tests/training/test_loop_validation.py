"""The validation channel scored by one process or several: every record once, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.data import HOST_RECORDS, Shards
from sagemaker_object_detection.training.epochs import BrokenData, EarlyStopping, Progress
from sagemaker_object_detection.training.loop import Trainer
from sagemaker_object_detection.training.schedule import LearningRate
from tests.training.jobs import make_job
from tests.training.processes import InThreads, communicators, in_all, worlds

BOX = (0.1, 0.1, 0.6, 0.6)


@dataclass
class Engine:
    """Finds the box in bright pictures alone, once it was refreshed."""

    refreshed: int = 0

    def refresh(self) -> None:
        self.refreshed += 1

    def detect(self, images: NDArray[Any]) -> NDArray[Any]:
        assert self.refreshed
        rows = np.full((len(images), 2, 6), -1, np.float32)
        rows[images[:, 0, 0, 0] > 0, 0] = [0, 0.9, *BOX]
        return rows


@dataclass
class Share:
    """Stands for a loader: a batch for each picture, each with one box of class 0.

    Attributes:
        bright: by record whether the engine finds it.
        broken: whether the data ends with an error.
    """

    bright: dict[int, bool]
    broken: bool = False

    def evaluation_pass(self, batch_size: int) -> Iterator[Batch]:
        labels = Labels(np.array([BOX]), np.zeros(1, np.int32), np.zeros(1, bool))
        for record, bright in self.bright.items():
            images = np.full((batch_size, 3, 4, 4), 255 * bright, np.uint8)
            records = np.array([record, *[-1] * (batch_size - 1)])
            truth = (labels, *[None] * (batch_size - 1))
            sizes = np.ones((batch_size, 2), np.int32)
            yield Batch(images, np.zeros((batch_size, 1, 5)), records, sizes, truth)
        if self.broken:
            raise ClientError("data.rec, record 3")


@dataclass
class Channels:
    communicator: Communicator
    loaders: dict[str, Share]
    shards: dict[str, Shards] = field(default_factory=dict)

    def scoring_batch(self, channel: str) -> int:
        return 2


def _trainer(
    base: Path,
    share: Share,
    communicator: Communicator,
    stops: bool = False,
    sharded: bool = False,
    silence: float = 30.0,
    live: Any = None,
) -> Trainer:
    shards = {"validation": Shards(communicator.world, sharded)}
    stubs: dict[str, Any] = {
        "data": Channels(communicator, {"validation": share}, shards),
        "engine": Engine(),
        "stop": SimpleNamespace(requested=lambda: stops),
        "live": live,
        **dict.fromkeys(("learner", "graph", "checkpoints")),
    }
    job, progress = make_job(base / str(communicator.world.rank)), Progress(EarlyStopping(1, 1, 0))
    progress.position.updates = 1
    return Trainer(job=job, schedule=LearningRate(0.1), progress=progress, silence=silence, **stubs)


def test_alone(tmp_path: Path) -> None:
    """Two of three are found; results of an epoch stay what they are, whatever the next one has."""
    share = Share({0: True, 1: False, 2: True})
    trainer = _trainer(tmp_path, share, Communicator(World()))
    score = trainer._validate()
    assert score is not None
    assert score.mean == pytest.approx(2 / 3)
    kept = trainer._found
    share.bright = {0: False}
    assert (second := trainer._validate()) is not None
    assert second.mean == 0
    assert kept is not None
    assert list(kept.records) == [0, 1, 2]


@pytest.mark.parametrize(("silence", "lines"), [(0.0, [1, 2, 3]), (30.0, [])])
def test_a_long_one_is_told_of(
    silence: float, lines: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told: list[str] = []
    live = SimpleNamespace(validating=lambda rate: told.append(caplog.messages[-1]))
    share, alone = Share(dict.fromkeys(range(3), True)), Communicator(World())
    trainer = _trainer(tmp_path, share, alone, silence=silence, live=live)
    assert trainer._validate() is not None
    assert told == caplog.messages
    assert [text.partition(" images done (")[0] for text in told] == [
        f"Channel 'validation': {images}" for images in lines
    ]


@pytest.mark.parametrize(
    ("sharded", "shares", "records"),
    [
        pytest.param(
            False, [{0: True, 2: True}, {1: False}], [0, 1, 2], id="each its share of one channel"
        ),
        pytest.param(
            True,
            [{0: True, 1: True}, {0: False}],
            [0, 1, HOST_RECORDS],
            id="each a channel of its own",
        ),
    ],
)
def test_several_processes_score_as_one(
    sharded: bool, shares: list[dict[int, bool]], records: list[int], tmp_path: Path
) -> None:
    def scored(communicator: InThreads) -> tuple[float, list[int]]:
        share = Share(shares[communicator.world.rank])
        trainer = _trainer(tmp_path, share, communicator, sharded=sharded)
        score = trainer._validate()
        assert score is not None
        assert trainer._found is not None
        return score.mean, trainer._found.records.tolist()

    found = in_all(communicators(worlds(2)), scored)
    assert found == [(pytest.approx(2 / 3), records)] * 2


@pytest.mark.parametrize("stopped", [(True, True), (False, True)])
def test_one_that_is_stopped_leaves_no_score(stopped: tuple[bool, ...], tmp_path: Path) -> None:
    def score(communicator: InThreads) -> object:
        stops = stopped[communicator.world.rank]
        return _trainer(tmp_path, Share({0: True}), communicator, stops)._validate()

    assert in_all(communicators(worlds(2)), score) == [None, None]


def test_data_that_cannot_be_read(tmp_path: Path) -> None:
    share = replace(Share({0: True}), broken=True)
    with pytest.raises(BrokenData, match=r"data\.rec, record 3"):
        _trainer(tmp_path, share, Communicator(World()))._validate()

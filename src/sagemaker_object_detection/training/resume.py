"""Checkpoints of a training: what goes into one, and how training goes on from it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mxnet as mx

from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    from_bytes,
    to_bytes,
)
from sagemaker_object_detection.training.communicator import Communicator, gather_values
from sagemaker_object_detection.training.epochs import Position, Progress
from sagemaker_object_detection.training.optimizer import (
    GradientTrainer,
    WeightAverage,
    optimizer_arrays,
    restore_optimizer,
    update_counts,
)

log = logging.getLogger(__name__)

_SETTINGS = (
    *("recipe", "precision", "augmentation", "learning_rate", "lr_schedule", "epochs"),
    *("lr_scheduler_step", "lr_scheduler_factor", "warmup_steps", "weight_decay", "momentum"),
    *("ema_decay", "overlap_threshold", "nms_threshold"),
)
_WEIGHT, _AVERAGE, _OPTIMIZER = "weight:", "average:", "optimizer:"


@dataclass(frozen=True)
class Trained:
    """Everything whose values training changes."""

    network: Network
    trainer: GradientTrainer
    average: WeightAverage | None


class Checkpoints:
    """The checkpoints of a job; without checkpointconfig.json every method does nothing.

    Of several processes the main one writes and reads the files, and tells the others.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, job: Job, network: Network, communicator: Communicator) -> None:
        self._model = job.paths.model_dir
        self._communicator = communicator
        self._folder: CheckpointFolder | None = None
        self._found: tuple[Path, Checkpoint] | None = None
        self._best_epoch: int | None = None  # of the model that is still to be copied
        self._settings = _settings(job)
        self._find(job, network)
        found = self._found
        epoch = int(found[1].state["position"]["epoch"]) if found else 0
        self.first_epoch: int = gather_values(communicator, epoch)[0]
        """The epoch that training goes on in; 0 where it begins."""

    def _find(self, job: Job, network: Network) -> None:
        if job.checkpoint_dir is None:
            log.info("Checkpoint loading and saving are disabled.")
            return
        if not self._communicator.world.is_main:
            return
        self._folder = CheckpointFolder(
            job.checkpoint_dir, _identity(job, network, self._communicator.world)
        )
        self._found = self._folder.latest()
        if self._found is None:
            log.info("Checkpoints go to %s; there is none to go on from.", job.checkpoint_dir)

    def restore(self, trained: Trained, progress: Progress, images: int) -> Position:
        """Put everything back where the newest usable checkpoint had it.

        Args:
            images: of the train channel. When it is another number than it was, the epoch begins
                anew: batches would be others.

        Returns:
            where training goes on.
        """
        found = self._told()
        if found is None:
            return Position()
        path, checkpoint = found
        arrays, state = checkpoint.arrays, checkpoint.state
        for name, parameter in trained.network.parameters.items():
            parameter.set_data(mx.nd.array(arrays[_WEIGHT + name]))
        if trained.average is not None:
            for name, array in trained.average.arrays.items():
                array[:] = arrays.get(_AVERAGE + name, arrays[_WEIGHT + name])
        restore_optimizer(
            trained.trainer.trainer, _part(arrays, _OPTIMIZER), state["update_counts"]
        )
        progress.restore(state["progress"])
        if self._folder is not None:
            self._folder.restore_best(self._model)
        self._warn_of_settings(state.get("settings", {}))
        position = Position(**state["position"])
        if not self._communicator.world.is_main:  # whose losses are those of all
            position.losses = dict.fromkeys(position.losses, 0.0)
        if images != state["images"] and position.batches:
            log.warning(
                "The train channel has %d images and had %d at the checkpoint: epoch %d begins "
                "anew.",
                images,
                state["images"],
                position.epoch,
            )
            position = Position(position.epoch, position.updates)
        log.info(
            "Training goes on from %s: epoch %d, batch %d, after %d updates.",
            path,
            position.epoch,
            position.batches,
            position.updates,
        )
        return position

    def _warn_of_settings(self, before: Mapping[str, Any]) -> None:
        """Of settings that fit the weights, but would not have led to them."""
        changed = [
            f"{name} is {now!r} and was {before[name]!r}"
            for name, now in self._settings.items()
            if name in before and before[name] != now
        ]
        if changed:
            log.warning("Training goes on with other settings: %s.", ", ".join(changed))

    def _told(self) -> tuple[Path, Checkpoint] | None:
        """What the main process has found."""
        found, self._found = self._found, None
        if self._communicator.world.size == 1:
            return found
        packed = self._communicator.gather(to_bytes(found[1]) if found else b"")[0]
        if found is None and packed:
            found = Path("the first host's checkpoint"), from_bytes(packed)
        return found

    def keep_best(self, epoch: int) -> None:
        """The model folder's model is of this epoch now: the next checkpoint takes it along."""
        self._best_epoch = epoch

    def save(self, trained: Trained, position: Position, progress: Progress, images: int) -> None:
        """Write a checkpoint; that there is no room for it is only a warning."""
        if self._folder is None:
            return
        state = {
            "position": asdict(position),
            "progress": progress.as_json(),
            "images": images,
            "update_counts": update_counts(trained.trainer.trainer),
            "settings": self._settings,
        }
        arrays = {
            _WEIGHT + name: parameter.list_data()[0].asnumpy()
            for name, parameter in trained.network.parameters.items()
        }
        if trained.average is not None:
            arrays |= {_AVERAGE + n: array.asnumpy() for n, array in trained.average.arrays.items()}
        arrays |= {
            _OPTIMIZER + n: array for n, array in optimizer_arrays(trained.trainer.trainer).items()
        }
        try:
            best = None if self._best_epoch is None else (self._model, self._best_epoch)
            path = self._folder.save(position.updates, Checkpoint(arrays, state), best)
        except OSError as error:
            log.warning("No checkpoint was written (%s). Training goes on.", error)
        else:
            self._best_epoch = None
            log.info("Checkpoint of epoch %d: %s", position.epoch, path)


def _part(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)}


def _settings(job: Job) -> dict[str, Any]:
    """What may change from one start of a job to the next, but should not unnoticed."""
    given = job.hyperparameters.as_strings()
    return {name: given[name] for name in _SETTINGS if name in given}


def _identity(job: Job, network: Network, world: World) -> dict[str, Any]:
    """What has to be equal for the weights, the optimiser and the order of the data to fit."""
    hyperparameters = job.hyperparameters
    shapes = sorted((name, tuple(p.shape)) for name, p in network.parameters.items())
    return {
        "base_network": hyperparameters.base_network,
        "num_classes": hyperparameters.num_classes,
        "image_shape": hyperparameters.image_shape,
        "optimizer": hyperparameters.optimizer,
        "mini_batch_size": hyperparameters.mini_batch_size,
        "seed": hyperparameters.seed,
        "processes": world.size,
        "hosts": len(world.hosts),
        "parameters": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16],
    }

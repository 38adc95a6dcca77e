"""Checkpoints: what goes into one, its file, and how training goes on from it.

A file is NumPy's .npz: an uncompressed ZIP, whose CRC-32 of every member is checked on reading, and
without pickled objects. Beside the files lies the best model so far, a folder BEST-<epoch> with the
artefact, since a job that is started again finds its model folder empty.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.model.artifact import written_aside
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.paths import ensure_writable
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator, gather_values
from sagemaker_object_detection.training.epochs import Position, Progress
from sagemaker_object_detection.training.optimizer import (
    optimizer_arrays,
    restore_optimizer,
    update_counts,
)
from sagemaker_object_detection.training.update import Learner

log = logging.getLogger(__name__)

KEPT = 2
FORMAT = 1
_IMPLIED = {"processes": 1, "hosts": 1}
"""Of checkpoints that were written before these were."""
_IDENTITY = ("base_network", "num_classes", "image_shape", "optimizer", "mini_batch_size", "seed")
_SETTINGS = (
    *("recipe", "precision", "augmentation", "learning_rate", "lr_schedule", "epochs"),
    *("lr_scheduler_step", "lr_scheduler_factor", "warmup_steps", "weight_decay", "momentum"),
    *("ema_decay", "overlap_threshold", "nms_threshold"),
)
"""What may change from one start of a job to the next, but should not unnoticed."""
_WEIGHT, _AVERAGE, _OPTIMIZER = "weight:", "average:", "optimizer:"
_STATE = "state.json"
_FILE = re.compile(r"checkpoint-(\d{8,})\.npz")
_BEST = "best-"
_UNFINISHED = (".checkpoint-*.npz.*", f".{_BEST}*")
"""What a process leaves that is killed while it writes."""
_TORN = (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy and zipfile raise on damaged files: RuntimeError on some flipped bits of a header."""


class UnusableCheckpoint(ValueError):
    """A checkpoint that is torn, or of another job; the message says what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a training: arrays by name, and JSON values.

    Of these `identity` says of what training it is; `best_model` is None or the folder of the best
    model with the SHA-256 of its files.
    """

    arrays: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]


class CheckpointFolder:
    """The folder that the platform keeps for a job that is started again; made if it is missing.

    `identity` is what must be equal for a checkpoint to be of this training. Raises OSError naming
    the folder where it cannot be written to.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        self._identity = {"format": FORMAT, **identity}
        self._best: dict[str, Any] | None = None
        ensure_writable(folder)
        for pattern in _UNFINISHED:
            for path in folder.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def save(
        self, number: int, checkpoint: Checkpoint, best: tuple[Path, int] | None = None
    ) -> Path:
        """Write a checkpoint aside and rename it; the KEPT last ones up to it stay.

        Higher ones, which were passed over when training began, are left alone. Whatever happens,
        no copy of a model stays that no checkpoint refers to.

        Args:
            number: of updates so far; a higher one is newer.
            best: the folder of a new best model, which is copied, and its epoch.

        Raises OSError: the folder cannot be written to, or has no room.
        """
        path = self._folder / f"checkpoint-{number:08d}.npz"
        before = self._best
        try:
            if best is not None:
                self._best = self._copy(*best)
            state = {**checkpoint.state, "identity": self._identity, "best_model": self._best}
            with written_aside(path) as aside, aside.open("wb") as file:
                _write(file, Checkpoint(checkpoint.arrays, state))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._best = before
            raise
        finally:
            self._tidy(number)
        return path

    def _copy(self, model: Path, epoch: int) -> dict[str, Any]:
        """Copy the artefact in the folder `model`; what a checkpoint says of the copy."""
        target = self._folder / f"{_BEST}{epoch:04d}"
        aside = Path(tempfile.mkdtemp(dir=self._folder, prefix=f".{_BEST}"))
        try:
            files = {}
            for file in sorted(path for path in model.iterdir() if path.is_file()):
                shutil.copyfile(file, aside / file.name)
                files[file.name] = _digest(aside / file.name)
            aside.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            aside.rename(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return {"folder": target.name, "files": files}

    def latest(self) -> tuple[Path, Checkpoint] | None:
        """The newest checkpoint that can be used; the others are passed over with a warning."""
        for path in sorted(self._files(), key=_number, reverse=True):
            try:
                checkpoint = read(path)
                self._check(checkpoint)
            except (UnusableCheckpoint, OSError) as error:
                log.warning("The checkpoint %s is passed over: %s", path, error)
                continue
            self._best = checkpoint.state["best_model"]
            return path, checkpoint
        return None

    def restore_best(self, model: Path) -> None:
        """Copy the best model of the checkpoint that was read last into the folder `model`."""
        if self._best is not None:
            for name in self._best["files"]:
                shutil.copyfile(self._folder / self._best["folder"] / name, model / name)

    def _check(self, checkpoint: Checkpoint) -> None:
        theirs = checkpoint.state.get("identity")
        if not isinstance(theirs, dict):
            raise UnusableCheckpoint("it does not say of what training it is.")
        theirs = _IMPLIED | theirs
        for name, ours in self._identity.items():
            if (other := theirs.get(name)) != ours:
                raise UnusableCheckpoint(
                    f"it is of another training, whose {name} is {other!r} and not {ours!r}."
                )
        best = checkpoint.state.get("best_model") or {"folder": "", "files": {}}
        for name, digest in best["files"].items():
            file = self._folder / best["folder"] / name
            if not file.is_file() or _digest(file) != digest:
                raise UnusableCheckpoint(f"its best model is damaged: {file}.")

    def _files(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if _FILE.fullmatch(path.name)]

    def _tidy(self, newest: int) -> None:
        files = self._files()
        ours = sorted((path for path in files if _number(path) <= newest), key=_number)
        old = ours[:-KEPT]
        for path in old:
            path.unlink(missing_ok=True)
        wanted = {_best_of(path) for path in files if path not in old}
        for folder in self._folder.glob(f"{_BEST}*"):
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as a file would hold it."""
    stream = io.BytesIO()
    _write(stream, checkpoint)
    return stream.getvalue()


def _write(stream: IO[bytes], checkpoint: Checkpoint) -> None:
    text = np.frombuffer(json.dumps(checkpoint.state).encode(), np.uint8)
    np.savez(stream, **{_STATE: text}, **checkpoint.arrays)


def read(content: Path | IO[bytes]) -> Checkpoint:
    """Read a whole file, or what to_bytes gave. Raises UnusableCheckpoint: torn; and OSError."""
    if isinstance(content, Path):
        with content.open("rb") as stream:
            return read(stream)
    try:
        with np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        state = json.loads(arrays.pop(_STATE).tobytes())
    except _TORN as error:
        raise UnusableCheckpoint(f"it is torn ({error}).") from error
    if not isinstance(state, dict):
        raise UnusableCheckpoint("it does not say of what training it is.")
    return Checkpoint(arrays, state)


def _best_of(path: Path) -> str | None:
    """The folder of the best model that a checkpoint refers to; reads its state alone."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            best = json.loads(file[_STATE].tobytes())["best_model"]
    except (*_TORN, OSError):
        return None
    return best["folder"] if best else None


def _number(path: Path) -> int:
    match = _FILE.fullmatch(path.name)
    return int(match[1]) if match else -1


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checkpoints:
    """The checkpoints of a job; without checkpointconfig.json every method does nothing.

    Of several processes the main one writes and reads the files, and tells the others.

    `first_epoch` is that which training goes on in; 0 where it begins.
    """

    def __init__(self, job: Job, network: Network, communicator: Communicator) -> None:
        self._model = job.paths.model_dir
        self._communicator = communicator
        self._folder: CheckpointFolder | None = None
        self._found: tuple[Path, Checkpoint] | None = None
        self._best_epoch: int | None = None  # of the model that the newest checkpoint has
        given = job.hyperparameters.as_strings()
        self._settings = {name: given[name] for name in _SETTINGS if name in given}
        if job.checkpoint_dir is None:
            log.info("Checkpoint loading and saving are disabled.")
        elif communicator.world.is_main:
            identity = _identity(job, network, communicator.world)
            self._folder = CheckpointFolder(job.checkpoint_dir, identity)
            self._found = self._folder.latest()
            if self._found is None:
                log.info("Checkpoints go to %s; there is none to go on from.", job.checkpoint_dir)
        epoch = int(self._found[1].state["position"]["epoch"]) if self._found else 0
        self.first_epoch: int = gather_values(communicator, epoch)[0]

    def restore(self, learner: Learner, progress: Progress, images: int) -> None:
        """Put everything back where the newest usable checkpoint had it, if there is one.

        When the train channel has another number of images than it had, the epoch begins anew:
        batches would be others.
        """
        found, self._found = self._found, None
        if self._communicator.world.size > 1:
            packed = self._communicator.gather(to_bytes(found[1]) if found else b"")[0]
            if found is None and packed:
                found = Path("the first host's checkpoint"), read(io.BytesIO(packed))
        if found is None:
            return
        path, checkpoint = found
        arrays, state = checkpoint.arrays, checkpoint.state
        for name, parameter in learner.network.parameters.items():
            parameter.set_data(mx.nd.array(arrays[_WEIGHT + name]))
        if learner.average is not None:
            for name, array in learner.average.arrays.items():
                array[:] = arrays.get(_AVERAGE + name, arrays[_WEIGHT + name])
        mine = [name for name in arrays if name.startswith(_OPTIMIZER)]
        states = {name.removeprefix(_OPTIMIZER): arrays[name] for name in mine}
        restore_optimizer(learner.trainer.trainer, states, state["update_counts"])
        progress.restore(state["progress"])
        self._best_epoch = progress.best.epoch if progress.best else None
        if self._folder is not None:
            self._folder.restore_best(self._model)
        before = state.get("settings", {})
        changed = [
            f"{name} is {now!r} and was {before[name]!r}"
            for name, now in self._settings.items()
            if name in before and before[name] != now
        ]
        if changed:  # they fit the weights, but would not have led to them
            log.warning("Training goes on with other settings: %s.", ", ".join(changed))
        position = Position(**state["position"])
        if not self._communicator.world.is_main:  # whose losses are those of all
            position.losses = dict.fromkeys(position.losses, 0.0)
        if images != state["images"] and position.batches:
            log.warning(
                f"The train channel has {images} images and had {state['images']} at the "
                f"checkpoint: epoch {position.epoch} begins anew."
            )
            position = Position(position.epoch, position.updates)
        numbers = position.epoch, position.batches, position.updates
        log.info("Training goes on from %s: epoch %d, batch %d, after %d updates.", path, *numbers)
        progress.position = position

    def save(self, learner: Learner, progress: Progress, images: int) -> None:
        """Write a checkpoint, with the best model if that is new; no room is only a warning."""
        if self._folder is None:
            return
        trainer, position = learner.trainer.trainer, progress.position
        state = {
            "position": asdict(position),
            "progress": progress.as_json(),
            "images": images,
            "update_counts": update_counts(trainer),
            "settings": self._settings,
        }
        parameters = learner.network.parameters.items()
        arrays = {_WEIGHT + name: p.list_data()[0].asnumpy() for name, p in parameters}
        if learner.average is not None:
            arrays |= {_AVERAGE + n: array.asnumpy() for n, array in learner.average.arrays.items()}
        arrays |= {_OPTIMIZER + n: array for n, array in optimizer_arrays(trainer).items()}
        epoch = progress.best.epoch if progress.best else None
        best = None if epoch in (None, self._best_epoch) else (self._model, epoch)
        try:
            path = self._folder.save(position.updates, Checkpoint(arrays, state), best)
        except OSError as error:
            log.warning("No checkpoint was written (%s). Training goes on.", error)
        else:
            self._best_epoch = epoch
            log.info("Checkpoint of epoch %d: %s", position.epoch, path)


def _identity(job: Job, network: Network, world: World) -> dict[str, Any]:
    """What has to be equal for the weights, the optimiser and the order of the data to fit."""
    shapes = sorted((name, tuple(p.shape)) for name, p in network.parameters.items())
    return {
        **{name: getattr(job.hyperparameters, name) for name in _IDENTITY},
        "processes": world.size,
        "hosts": len(world.hosts),
        "parameters": hashlib.sha256(repr(shapes).encode()).hexdigest()[:16],
    }

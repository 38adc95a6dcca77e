"""Twins for CPU endpoints, made beside the trained model.

INT8 takes long and much native code, so that it is made in a process of its own: it can be stopped,
and whatever happens to it, the model is there and the job goes on.
`python -m sagemaker_object_detection.training.twins FOLDER IMAGES.npy THREADS`.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.inference.predictor import Engine
from sagemaker_object_detection.inference.twins import (
    CALIBRATION_IMAGES,
    first_images,
    judge_int8,
    make_twins,
)

log = logging.getLogger(__name__)

_MODULE = "sagemaker_object_detection.training.twins"
_POLL_SECONDS = 0.1


class Stopped(Exception):
    """The job was asked to end while its twins were made."""


def add_twins(
    folder: Path,
    images: Iterable[NDArray[Any]],
    threads: int,
    int8: bool,
    reference_map: float,
    score: Callable[[Engine], float | None],
    should_stop: Callable[[], bool],
) -> None:
    """Write the twins of the model in `folder`; a failure is only a warning.

    Args:
        images: of the validation channel, uint8 batches (B, 3, S, S); read only for INT8.
        reference_map: the model's own mAP on that channel; what an INT8 twin has to come near.
        score: gives the mAP of an engine on that channel; None where it was stopped.
    """
    begun = time.perf_counter()
    with_int8 = int8 and _try("INT8", lambda: _run_process(folder, images, threads, should_stop))
    if not with_int8 and not should_stop():
        _try("float32", lambda: make_twins(folder, (), threads, int8=False))
    if with_int8:
        _try("INT8", lambda: _judge(folder, reference_map, score, threads))
    log.info("Twins for CPU endpoints took %.1f s.", time.perf_counter() - begun)


def _judge(
    folder: Path, reference_map: float, score: Callable[[Engine], float | None], threads: int
) -> None:
    verdict = judge_int8(folder, reference_map, score, threads)
    if verdict is None:
        raise Stopped
    log.info("%s", verdict)


def _try(twin: str, make: Callable[[], object]) -> bool:
    """Whether it went well; any error is a warning, since the model itself is whole."""
    try:
        make()
    except Stopped:
        log.warning("Stopped while twins for CPU endpoints were made.")
        return False
    except Exception as error:
        log.warning(
            "There is no %s twin for CPU endpoints (%s: %s). The model itself is whole.",
            twin,
            type(error).__name__,
            error,
        )
        log.debug("The twin's error", exc_info=True)
        return False
    return True


def _run_process(
    folder: Path,
    images: Iterable[NDArray[Any]],
    threads: int,
    should_stop: Callable[[], bool],
) -> None:
    """Make both twins in a process.

    Raises Stopped, RuntimeError with the last words of the process, OSError, JobError.
    """
    with TemporaryDirectory(prefix="twins-") as scratch:
        file, words = Path(scratch) / "images.npy", Path(scratch) / "words"
        np.save(file, np.concatenate(list(first_images(images, CALIBRATION_IMAGES))))
        command = [sys.executable, "-m", _MODULE, str(folder), str(file), str(threads)]
        with words.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            try:
                while process.poll() is None:
                    if should_stop():
                        raise Stopped
                    time.sleep(_POLL_SECONDS)
            finally:
                process.kill()
                process.wait()
        if process.returncode:
            last = words.read_text(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise RuntimeError(f"exit code {process.returncode}, {last[0]}")


def _batches(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (images[start : start + 8] for start in range(0, len(images), 8))


def main() -> None:
    """The process: make the twins of a folder."""
    folder, file, threads = sys.argv[1:]
    make_twins(Path(folder), _batches(np.load(file, allow_pickle=False)), int(threads), int8=True)


if __name__ == "__main__":
    main()

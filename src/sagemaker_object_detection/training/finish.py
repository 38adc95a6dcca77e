"""After the last epoch: the kept model's scores, its twins for CPU endpoints, and the report.

INT8 takes long and much native code, so that it is made in a process of its own: whatever happens
to it, the model is there and the job goes on.
`python -m sagemaker_object_detection.training.finish FOLDER IMAGES.npy THREADS PARENT`.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data.loader import Batch, Loader
from sagemaker_object_detection.data.report_html import JSON_FILE as DATA_REPORT_FILE
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision, score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.evaluation.report_files import write_results
from sagemaker_object_detection.evaluation.report_html import REPORT_FILE, Report, write_report
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import Summary, summarise
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.inference.predictor import Engine
from sagemaker_object_detection.inference.twins import (
    CALIBRATION_IMAGES,
    first_images,
    judge_int8,
    make_twins,
)
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import JobError
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.orphans import end_with_parent
from sagemaker_object_detection.platform.python_process import last_words, with_package
from sagemaker_object_detection.training.data import HOST_RECORDS, Data, Shards, with_lines
from sagemaker_object_detection.training.epochs import (
    MAP_DEFINITION,
    BrokenData,
    EpochResult,
    guarded,
    save_test_score,
    versions,
)

log = logging.getLogger(__name__)

_MODULE = "sagemaker_object_detection.training.finish"


@dataclass
class Finish:
    """Everything that is done with the model in the model folder once training has ended.

    Attributes:
        threads: processor cores to use.
        history: all epochs; best: that of the model.
        results: of it on the validation channel; None where its epoch was before a checkpoint.
    """

    job: Job
    data: Data
    ctx: mx.Context
    threads: int
    history: list[EpochResult]
    best: EpochResult
    results: Results | None

    def __call__(self) -> None:
        """Score, make twins, write the report.

        Raises JobError of the test channel's data, after all the rest was done. Everything else is
        only a warning.
        """
        if self.results is None:
            with _harmless("The validation channel could not be scored again"):
                self.results = self._validate_again()
        self._add_twins()
        broken: JobError | OSError | None = None
        if "test" in self.data.loaders:
            try:
                self._score_test()
            except (JobError, OSError) as error:
                broken = error
        if self.results is not None:
            with _harmless("Figures and report of the validation channel are not all there"):
                self._describe(self.results)
        if broken is not None:
            raise broken

    def _write_thresholds(self, summary: Summary) -> None:
        """Into model.json; rounded down, since a detection has to be above them."""
        folder = self.job.paths.model_dir
        rounded = tuple(max(0.0, round(one - 5e-5, 4)) for one in summary.thresholds)
        artifact.write_config(folder, replace(artifact.read_config(folder), thresholds=rounded))

    def _validate_again(self) -> Results | None:
        """Results of the artefact; None of a stream, which is over."""
        if not isinstance(self.data.loaders["validation"], Loader):
            log.warning(
                "The kept model is of an epoch before the checkpoint and the validation channel is "
                "a stream: there are no detections to report."
            )
            return None
        engine = self._engine("validation")
        if self._shards.several:
            log.warning(
                "The kept model is of an epoch before the checkpoint: detections and report are of "
                "the validation images that this host reads."
            )
        return evaluate(engine, self._whole_pass("validation"))

    def _engine(self, channel: str) -> MXNetEngine:
        """The artefact, as it was written, for the batches of a channel."""
        batch = self.data.scoring_batch(channel)
        return MXNetEngine.from_folder(self.job.paths.model_dir, self.ctx, batch_sizes=[batch])

    def _whole_pass(self, channel: str) -> Iterator[Batch]:
        """All that this host has of a channel; of a stream its share."""
        loader, batch = self.data.loaders[channel], self.data.scoring_batch(channel)
        if isinstance(loader, Loader):
            return with_lines(channel, loader.evaluation_pass(batch, whole=True))
        return with_lines(channel, loader.evaluation_pass(batch))

    def _name(self, record: int) -> str:
        """What to call a record of the validation channel, whichever host has it."""
        return self._shards.name(self.data.loaders["validation"].name, record)

    @property
    def _shards(self) -> Shards:
        return self.data.shards["validation"]

    def _score(self, results: Results | None) -> AveragePrecision:
        assert results is not None
        given = self.job.hyperparameters
        return score(results, given.num_classes, given.overlap_threshold)

    def _add_twins(self) -> None:
        asked = self.job.hyperparameters.quantize
        int8 = asked != "0" and isinstance(self.data.loaders["validation"], Loader)
        if asked == "1" and not int8:
            log.warning(
                "There will be no INT8 twin: it is calibrated and scored on the validation "
                "channel, which is a stream here. Give that channel in File mode."
            )
        reference = self.best.score.mean
        if self._shards.several and self.results is not None:  # INT8: scored on this host's images
            reference = self._score(self.results.only(self.results.records < HOST_RECORDS)).mean
        add_twins(
            self.job.paths.model_dir,
            (b.images[b.records >= 0] for b in self._whole_pass("validation")) if int8 else (),
            self.threads,
            int8,
            reference,
            lambda engine: self._score(evaluate(engine, self._whole_pass("validation"))).mean,
        )

    def _score_test(self) -> None:
        """Score the artefact on the test channel. Raises JobError and OSError of its data."""
        job, engine = self.job, self._engine("test")
        if self.data.shards["test"].several:
            log.warning("Only the images of channel 'test' that this host reads are scored.")
        try:
            results = evaluate(engine, guarded(self._whole_pass("test")))
        except BrokenData as broken:
            self.data.report(broken.error.faults)
            raise broken.error from broken
        if "test" in self.data.streams:
            self.data.report()
        found = self._score(results)
        epoch = artifact.read_config(job.paths.model_dir).validation["epoch"]
        log.info(logs.map_line(job.current_host, epoch, found.mean, "test"))
        save_test_score(job, found)

    def _describe(self, results: Results) -> None:
        """Write the figures and the report."""
        folder, given = self.job.paths.output_data_dir, self.job.hyperparameters
        config = artifact.read_config(self.job.paths.model_dir)
        summary = summarise(results, config.class_names, given.overlap_threshold)
        self._write_thresholds(summary)
        log.info(
            "Validation mAP %.4f, 95 %% interval %.4f to %.4f.", summary.mean, *summary.interval
        )
        about = {
            "epoch": self.best.epoch,
            "epochs": len(self.history),
            "definition": MAP_DEFINITION,
            "versions": versions(),
        }
        about |= {"test": dict(config.test)} if config.test else {}
        about |= {"twins": dict(config.twins)} if config.twins else {}
        names = [self._name(int(record)) for record in results.records]
        write_results(folder, results, names, summary, about)
        loader, here = self.data.loaders["validation"], not self._shards.several
        report = Report(
            epochs=[result.as_row() for result in self.history],
            best_epoch=self.best.epoch,
            results=results,
            summary=summary,
            name=self._name,
            picture=loader.image if here and isinstance(loader, Loader) else None,
            data_report=json.loads((folder / DATA_REPORT_FILE).read_text(encoding="utf-8")),
            configuration=given.as_strings(),
            versions=versions(),
            definition=MAP_DEFINITION,
            test=config.test,
            twins=config.twins,
        )
        write_report(folder, report)
        log.info("The report is %s.", folder / REPORT_FILE)


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    """Turn any error into a warning: the model is there, whatever happens to its description."""
    try:
        yield
    except Exception:
        log.warning("%s. The model itself is whole.", what, exc_info=True)


def add_twins(
    folder: Path,
    images: Iterable[NDArray[Any]],
    threads: int,
    int8: bool,
    reference_map: float,
    score: Callable[[Engine], float],
) -> None:
    """Write the twins of the model in `folder`; a failure is only a warning.

    Args:
        images: of the validation channel, uint8 batches (B, 3, S, S); read only for INT8.
        reference_map: the model's own mAP there, that an INT8 twin has to come near.
        score: gives the mAP of an engine there.
    """
    begun = time.perf_counter()
    if int8 and _try("INT8", lambda: _run_process(folder, images, threads)):
        _try("INT8", lambda: log.info("%s", judge_int8(folder, reference_map, score, threads)))
    else:
        _try("float32", lambda: make_twins(folder, (), threads, int8=False))
    log.info("Twins for CPU endpoints took %.1f s.", time.perf_counter() - begun)


def _try(twin: str, make: Callable[[], object]) -> bool:
    """Whether it went well; any error is a warning, since the model itself is whole."""
    try:
        make()
    except Exception as error:
        log.warning(
            f"There is no {twin} twin for CPU endpoints ({type(error).__name__}: {error}). The "
            "model itself is whole."
        )
        log.debug("The twin's error", exc_info=True)
        return False
    return True


def _run_process(folder: Path, images: Iterable[NDArray[Any]], threads: int) -> None:
    """Make both twins in a process. Raises RuntimeError with its last words, OSError, JobError."""
    with TemporaryDirectory(prefix="twins-") as scratch:
        file, words = Path(scratch) / "images.npy", Path(scratch) / "words"
        np.save(file, np.concatenate(list(first_images(images, CALIBRATION_IMAGES))))
        given = [str(folder), str(file), str(threads), str(os.getpid())]
        command = [sys.executable, "-m", _MODULE, *given]
        with words.open("wb") as output:
            process = subprocess.run(
                command,
                env=with_package(os.environ),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if process.returncode:
            last = last_words(words.read_text(errors="replace"))
            raise RuntimeError(f"exit code {process.returncode}, {last}")


def main() -> None:
    """The process: make the twins of a folder."""
    folder, file, threads, parent = sys.argv[1:]
    end_with_parent(int(parent))
    images = np.load(file, allow_pickle=False)
    batches = (images[start : start + 8] for start in range(0, len(images), 8))
    make_twins(Path(folder), batches, int(threads), int8=True)


if __name__ == "__main__":
    main()

"""After the last epoch: the kept model's scores, its twins, and the report."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mxnet as mx

from sagemaker_object_detection.data.loader import Batch, Loader
from sagemaker_object_detection.data.report_html import JSON_FILE as DATA_REPORT_FILE
from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.evaluation.report_files import write_results
from sagemaker_object_detection.evaluation.report_html import REPORT_FILE, Report, write_report
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import Summary, summarise
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.inference.predictor import Engine
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import JobError
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.training.data import HOST_RECORDS, Data, Shards
from sagemaker_object_detection.training.epochs import BrokenData, Progress, guarded
from sagemaker_object_detection.training.saving import (
    MAP_DEFINITION,
    add_twins,
    save_test_score,
    versions,
)
from sagemaker_object_detection.training.validation import with_lines

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finish:
    """Everything that is done with the model in the model folder once training has ended.

    Attributes:
        threads: processor cores to use.
    """

    job: Job
    data: Data
    ctx: mx.Context
    threads: int

    def __call__(self, progress: Progress, results: Results | None) -> None:
        """Score, make twins, write the report.

        Args:
            results: of the kept model on the validation channel; None where its epoch was before a
                checkpoint.

        Raises:
            JobError: of the test channel's data, after all the rest was done. Everything else is
                only a warning.
        """
        if progress.best is None:
            return
        if results is None:
            with _harmless("The validation channel could not be scored again"):
                results = self._validate_again()
        self._add_twins(progress, results)
        broken: JobError | OSError | None = None
        if "test" in self.data.loaders:
            try:
                self._score_test()
            except (JobError, OSError) as error:
                broken = error
        if results is not None:
            self._describe(progress, results)
        if broken is not None:
            raise broken

    def _describe(self, progress: Progress, results: Results) -> None:
        """Write the figures and the report."""
        with _harmless("Figures and report of the validation channel are not all there"):
            names = artifact.read_config(self.job.paths.model_dir).class_names
            summary = summarise(results, names, self.job.hyperparameters.overlap_threshold)
            self._write_results(progress, results, summary)
            self._write_report(progress, results, summary)

    def _validate_again(self) -> Results | None:
        """Results of the artefact; None of a stream, which is over."""
        loader = self.data.loaders["validation"]
        if not isinstance(loader, Loader):
            log.warning(
                "The kept model is of an epoch before the checkpoint and the validation channel is "
                "a stream: there are no detections to report."
            )
            return None
        batch = self.data.scoring_batch("validation")
        engine = MXNetEngine.from_folder(self.job.paths.model_dir, self.ctx, batch_sizes=[batch])
        if self._shards.several:
            log.warning(
                "The kept model is of an epoch before the checkpoint: detections and report are of "
                "the validation images that this host reads."
            )
        return evaluate(engine, self._whole_pass("validation"))

    def _write_results(self, progress: Progress, results: Results, summary: Summary) -> None:
        assert progress.best is not None
        config = artifact.read_config(self.job.paths.model_dir)
        about = {
            "epoch": progress.best.epoch,
            "epochs": len(progress.history),
            "definition": MAP_DEFINITION,
            "versions": versions(),
        }
        about |= {"test": dict(config.test)} if config.test else {}
        about |= {"twins": dict(config.twins)} if config.twins else {}
        names = [self._name(int(record)) for record in results.records]
        write_results(self.job.paths.output_data_dir, results, names, summary, about)

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

    def _add_twins(self, progress: Progress, results: Results | None) -> None:
        assert progress.best is not None
        loader = self.data.loaders["validation"]
        asked = self.job.hyperparameters.quantize
        int8 = asked != "0" and isinstance(loader, Loader)
        if asked == "1" and not int8:
            log.warning(
                "There will be no INT8 twin: it is calibrated and scored on the validation "
                "channel, which is a stream here. Give that channel in File mode."
            )
        hyperparameters = self.job.hyperparameters

        def mean(results: Results | None) -> float:
            assert results is not None
            classes, threshold = hyperparameters.num_classes, hyperparameters.overlap_threshold
            return score(results, classes, threshold).mean

        def score_engine(engine: Engine) -> float:
            return mean(evaluate(engine, self._whole_pass("validation")))

        reference = progress.best.score.mean
        if self._shards.several and results is not None:  # INT8 is scored on this host's images
            reference = mean(results.only(results.records < HOST_RECORDS))

        add_twins(
            self.job.paths.model_dir,
            (b.images[b.records >= 0] for b in self._whole_pass("validation")) if int8 else (),
            self.threads,
            int8,
            reference,
            score_engine,
        )

    def _score_test(self) -> None:
        """Score the artefact, as it was written, on the test channel.

        Raises JobError and OSError where the channel's data cannot be used; the model stays.
        """
        job, batch = self.job, self.data.scoring_batch("test")
        engine = MXNetEngine.from_folder(job.paths.model_dir, self.ctx, batch_sizes=[batch])
        if self.data.shards["test"].several:
            log.warning("Only the images of channel 'test' that this host reads are scored.")
        batches = guarded(self._whole_pass("test"))
        try:
            results = evaluate(engine, batches)
        except BrokenData as broken:
            self.data.report(broken.error.faults)
            raise broken.error from broken
        assert results is not None
        if "test" in self.data.streams:
            self.data.report()
        given = job.hyperparameters
        found = score(results, given.num_classes, given.overlap_threshold)
        epoch = artifact.read_config(job.paths.model_dir).validation["epoch"]
        log.info(logs.map_line(job.current_host, epoch, found.mean, "test"))
        save_test_score(job, found)

    def _write_report(self, progress: Progress, results: Results, summary: Summary) -> None:
        assert progress.best is not None
        folder = self.job.paths.output_data_dir
        loader, here = self.data.loaders["validation"], not self._shards.several
        config = artifact.read_config(self.job.paths.model_dir)
        data_report = json.loads((folder / DATA_REPORT_FILE).read_text(encoding="utf-8"))
        report = Report(
            epochs=[result.as_row() for result in progress.history],
            best_epoch=progress.best.epoch,
            results=results,
            summary=summary,
            name=self._name,
            picture=loader.image if here and isinstance(loader, Loader) else None,
            data_report=data_report,
            configuration=self.job.hyperparameters.as_strings(),
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

"""The channels of a job after the gate."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass

from sagemaker_object_detection.data.class_names import class_names
from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.data.gate import ChannelReport, pass_gate
from sagemaker_object_detection.data.sources import open_source
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.platform.job import Job

log = logging.getLogger(__name__)

DATA_REPORT_FILE = "data_report.json"


@dataclass(frozen=True)
class Data:
    """What a job trains on and is scored on."""

    train: Dataset
    validation: Dataset
    class_names: tuple[str, ...]


def read_channels(job: Job, threads: int) -> Data:
    """Pass both channels through the gate and write data_report.json.

    Args:
        threads: records checked at a time.

    Raises:
        ClientError: as the sources and the gate do; OSError where the report cannot be written.
    """
    hyperparameters = job.hyperparameters
    datasets: dict[str, Dataset] = {}
    reports: dict[str, ChannelReport] = {}
    found_names: dict[int, set[str]] = {}
    for name in ("train", "validation"):
        source, unannotated = open_source(job.channels, name, job.form)
        begun = time.perf_counter()
        datasets[name], reports[name] = pass_gate(
            name, source, hyperparameters.num_classes, threads, unannotated
        )
        log.info("Channel '%s' checked in %.1f s.", name, time.perf_counter() - begun)
        for class_id, names in getattr(source, "class_names", {}).items():
            found_names.setdefault(class_id, set()).update(names)
    job.paths.output_data_dir.mkdir(parents=True, exist_ok=True)
    report = {"channels": {name: report.as_dict() for name, report in reports.items()}}
    artifact.write_text_whole(
        job.paths.output_data_dir / DATA_REPORT_FILE, json.dumps(report, indent=1) + "\n"
    )
    widest = max(report.label_width for report in reports.values())
    if widest > hyperparameters.label_width:
        log.warning(
            "label_width is %d, the fullest image needs %d. Nothing is lost: the data is counted "
            "here, but the service's own algorithm would fail.",
            hyperparameters.label_width,
            widest,
        )
    names = class_names(job.channels["train"].path, found_names, hyperparameters.num_classes)
    log.info("Class names: %s", ", ".join(names))
    return Data(datasets["train"], datasets["validation"], names)

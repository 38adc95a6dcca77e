"""What the gate finds in the folders of channels, outside of any job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagemaker_object_detection.data.class_names import (
    CLASSES_FILE,
    class_names,
    found_names,
    read_classes,
)
from sagemaker_object_detection.data.coco import CocoSource
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.gate import survey
from sagemaker_object_detection.data.report import Checked, make_report
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.tally import Limits, refusals
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.threads import physical_cores
from sagemaker_object_detection.tools.folders import channels_of
from sagemaker_object_detection.tools.limit_options import DEFAULTS

_MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        report: the content of data_report.json.
        num_classes: as given, or as the data has it.
        counted_by: where num_classes comes from, for a reader.
        refused: why the channels cannot be trained on; empty when they can.
    """

    report: dict[str, Any]
    num_classes: int
    counted_by: str
    refused: tuple[str, ...]


def validate(
    folders: Mapping[str, Path],
    num_classes: int | None = None,
    base_network: str = DEFAULTS.base_network,
    image_shape: int = DEFAULTS.image_shape,
    limits: Limits | None = None,
) -> Findings:
    """Look through channels, all their records, whatever is wrong with some.

    Args:
        folders: channel -> its folder; the folder of its annotations lies beside it.
        num_classes: as the job will have it; None to take it from the data.

    Raises:
        ClientError: the files of a channel are of no form, or cannot be opened as a source; COCO
            files list different categories.
    """
    names = list(folders)
    channels = with_forms(channels_of(folders), names)
    sources = open_sources(channels, names, num_classes)
    counted, counted_by = _count_classes(channels, sources, num_classes)
    tallies = {
        name: survey(name, source, counted or _MOST_CLASSES, physical_cores(), limits)
        for name, source in sources.items()
    }
    if counted is None:
        counted = 1 + max(int(tally.class_ids.max(initial=0)) for tally in tallies.values())
        for tally in tallies.values():
            tally.num_classes = counted
    refused = refusals(tallies.values())
    checked = [Checked(tallies[name], source.name) for name, source in sources.items()]
    labels = class_names(
        (),
        categories(sources),
        [channel.path for channel in channels.values()],
        found_names(sources.values()),
        counted,
    )
    report = make_report(checked, labels, get_spec(base_network, image_shape), refused)
    return Findings(report, counted, counted_by, tuple(refused))


def _count_classes(
    channels: Mapping[str, Channel], sources: Mapping[str, Source], given: int | None
) -> tuple[int | None, str]:
    """How many classes there are, None where only the records tell, and what says so."""
    if given is not None:
        return given, "as given"
    for name, source in sources.items():
        if isinstance(source, CocoSource):
            return len(source.category_names), f"the COCO categories of {name}"
    inside = [channel.path for channel in channels.values()]
    for folder in (*inside, *(path.parent for path in inside)):
        file = folder / CLASSES_FILE
        if file.is_file():
            return max(1, len(read_classes(file))), str(file)
    return None, "the largest class_id"

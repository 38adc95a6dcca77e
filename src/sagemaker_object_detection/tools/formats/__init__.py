"""Formats of labelled images: each is a module around `record.LabelledImage`.

A reader takes a folder and the name of one of its splits; a writer takes the data set, the name of
a channel, and an empty folder that becomes (or joins) `/opt/ml/input/data`. To add a format, write
the module and its line in the table.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from sagemaker_object_detection.tools.formats import (
    coco,
    manifest,
    recordio,
    sagemaker_json,
    voc,
    yolo,
)
from sagemaker_object_detection.tools.formats.data_set import DataSet
from sagemaker_object_detection.tools.formats.record import LabelledImage, Split

Reader = Callable[[Path, str], Split]
Writer = Callable[[Path, str, DataSet, Iterable[LabelledImage]], None]

READERS: dict[str, Reader] = {
    "voc": voc.VocSplit,
    "coco": coco.read,
    "yolo": yolo.YoloSplit,
    "manifest": manifest.read,
    "sagemaker-json": sagemaker_json.read,
    "recordio": recordio.read,
}
WRITERS: dict[str, Writer] = {
    "recordio": recordio.write,
    "sagemaker-json": sagemaker_json.write,
    "coco": coco.write,
}

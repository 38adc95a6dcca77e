"""Write a channel as one RecordIO file, ``<channel>/<channel>.rec``, with its ``.idx``.

Records have no place for class names; a ``classes.txt`` beside them has.
"""

from collections.abc import Iterable
from pathlib import Path

from sagemaker_object_detection.boxes import from_px
from sagemaker_object_detection.data.class_names import CLASSES_FILE
from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import RecordIOWriter, pack
from sagemaker_object_detection.tools.formats.record import DataSet, LabelledImage


def write(folder: Path, channel: str, data: DataSet, images: Iterable[LabelledImage]) -> None:
    """Pack the images as they are, with their corners in 0..1, in the order given.

    The `difficult` flag is written for all objects of the data set or, if none has it, for none:
    readers want labels of one width.
    """
    target = folder / channel
    target.mkdir(parents=True)
    classes = target / CLASSES_FILE
    classes.write_text(data.classes_text(), encoding="utf-8", newline="\n")
    with RecordIOWriter(target / f"{channel}.rec") as writer:
        for number, image in enumerate(images):
            boxes = from_px(image.boxes_px, *image.size)
            difficult = image.difficult if data.has_difficult else None
            label = pack_label(boxes, data.class_ids(image), difficult)
            writer.write(pack(label, number, image.path.read_bytes()))

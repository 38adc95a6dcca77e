"""Read .rec files, and write a channel as ``<channel>/<channel>.rec``, with ``.idx`` and ``.lst``.

Records have no place for class names; a ``classes.txt`` beside them has.
"""

from collections.abc import Iterable
from pathlib import Path

from sagemaker_object_detection.boxes import from_px
from sagemaker_object_detection.data.class_names import CLASSES_FILE
from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import RecordIOWriter, pack
from sagemaker_object_detection.data.sources import RecordIOSource
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.data_set import DataSet
from sagemaker_object_detection.tools.formats.from_source import SourceSplit, class_file, no_split
from sagemaker_object_detection.tools.formats.record import LabelledImage


def read(source: Path, split: str) -> SourceSplit:
    """``<split>.rec``, or all .rec files in ``<split>/``, sorted.

    Raises ClientError when there are none, and as RecordIOSource.
    """
    file, folder = source / f"{split}{files.RECORDIO_SUFFIX}", source / split
    paths: tuple[Path, ...] = ()
    if file.is_file():
        paths = (file,)
    elif folder.is_dir():
        paths = files.of_form(folder, "recordio")
    if not paths:
        records = (path for path in files.walk(source) if path.suffix == files.RECORDIO_SUFFIX)
        splits = {path.relative_to(source).parts[0].removesuffix(path.suffix) for path in records}
        wanted = f"there is no {file}, and no .rec file in {folder}"
        raise no_split(source, split, wanted, sorted(splits))
    return SourceSplit(RecordIOSource(paths), lambda _: None, class_file(source, split))


def write(folder: Path, channel: str, data: DataSet, images: Iterable[LabelledImage]) -> None:
    """Pack the images as they are, with their corners in 0..1, in the order given.

    The `difficult` flag is written for all objects of the data set or, if none has it, for none:
    readers want labels of one width. Raises ClientError for an image of 512 MiB or more.
    """
    target = folder / channel
    target.mkdir(parents=True)
    classes = target / CLASSES_FILE
    classes.write_text(data.table.text(), encoding="utf-8", newline="\n")
    with RecordIOWriter(target / f"{channel}.rec", listed=True) as writer:
        for number, image in enumerate(images):
            boxes = from_px(image.boxes_px, *image.size)
            difficult = image.difficult if data.has_difficult else None
            label = pack_label(boxes, data.class_ids(image), difficult)
            try:
                writer.write(pack(label, number, image.read_image()), image.name or "")
            except ValueError as error:
                raise ClientError(f"{image.place}: {error}. Make the image smaller.") from None

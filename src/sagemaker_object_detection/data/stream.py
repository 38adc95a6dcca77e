"""What the records of a stream mean: im2rec's image records, or samples of an augmented manifest.

Of an augmented manifest the platform sends a record for each of the request's AttributeNames: the
bytes of the image, then the JSON text of the annotation, then, where asked for, of its metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from sagemaker_object_detection.data import recordio
from sagemaker_object_detection.data.annotations import (
    Annotation,
    class_map_names,
    from_object,
    load,
    shown,
)
from sagemaker_object_detection.data.class_names import FoundNames
from sagemaker_object_detection.data.dataset import RawRecord
from sagemaker_object_detection.data.pipe import Record
from sagemaker_object_detection.data.records import from_annotation, from_payload
from sagemaker_object_detection.platform.errors import ClientError

_ATTRIBUTES = (
    "AttributeNames must name the image first and then the attribute that holds the boxes, as in "
    '["source-ref", "bounding-box"], and every line of the manifest must have them.'
)
_IMAGE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8|II\*\0|MM\0\*"
    # A BMP by the size of its second header, as a label of 19,778 numbers begins with BM too.
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    re.DOTALL,
)
# A count of labels, as im2rec has it there, holds a NUL among its four bytes; no JSON does.
_JSON = re.compile(
    rb'(?=[^\0]{4}|[^\0]{0,3}\Z)(?:\xef\xbb\xbf)?[ \t\r\n]*(?:[\[{"]|-?\d|true|false|null)'
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image of a stream, as bytes.

    position: its number in the stream, from 0. name: what to call it in a message. parts: one
    record of im2rec, or an image and one or more JSON texts.
    """

    position: int
    name: str
    parts: tuple[bytes, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(map(len, self.parts))

    @property
    def unit(self) -> str:
        """What `position` counts."""
        return "record" if len(self.parts) == 1 else "sample"


def samples(path: Path, records: Iterable[Record]) -> Iterator[Sample]:
    """Group the records of a FIFO to samples; which of the two forms it is, its beginning says.

    A manifest's first record is an image, or its second one JSON: the first image may be damaged.

    Args:
        path: the FIFO, for messages.

    Raises:
        ClientError: JSON before the first image, two images without JSON between them, or an
            image without JSON at the end.
    """
    source = iter(records)
    first = next(source, None)
    if first is None:
        return
    begun = [first]
    if not _IMAGE.match(first.payload) and not _JSON.match(first.payload):
        begun += islice(source, 1)
    source = chain(begun, source)
    if _IMAGE.match(first.payload) or (len(begun) > 1 and _JSON.match(begun[1].payload)):
        yield from _manifest(path, source)
    elif _JSON.match(first.payload):
        where = recordio.where(path, first.number, first.offset)
        raise ClientError(f"{where}: the stream begins with JSON, not with an image. {_ATTRIBUTES}")
    else:
        for record in source:
            name = recordio.where(path, record.number, record.offset)
            yield Sample(record.number, name, (record.payload,))


def _manifest(path: Path, records: Iterable[Record]) -> Iterator[Sample]:
    """Samples that begin with their image.

    After an annotation whatever is no JSON counts as the next image: that it is none is for the
    gate to say.
    """
    position = 0
    parts: list[bytes] = []
    start = 0
    for record in records:
        if not _IMAGE.match(record.payload) and _JSON.match(record.payload) and parts:
            parts.append(record.payload)
            continue
        if len(parts) == 1:
            where = recordio.where(path, record.number, record.offset)
            raise ClientError(
                f"{where}: here must be the annotation of the image in record {start}, as JSON; "
                f"it begins with {record.payload[:8]!r}. {_ATTRIBUTES}"
            )
        if parts:
            yield Sample(position, _span(path, position, start, record.number), tuple(parts))
            position += 1
        parts = [record.payload]
        start = record.number
    if len(parts) == 1:
        raise ClientError(
            f"{path}, record {start}: the stream ends after this image, its annotation is "
            f"missing. {_ATTRIBUTES}"
        )
    yield Sample(position, _span(path, position, start, start + len(parts)), tuple(parts))


def _span(path: Path, position: int, start: int, end: int) -> str:
    return f"{path}, sample {position} (records {start} to {end - 1})"


class SampleReader:
    """Turns samples into records for the gate, and notes the class names they hold."""

    def __init__(self) -> None:
        self._found = FoundNames()

    @property
    def class_names(self) -> Mapping[int, Set[str]]:
        """Names that the samples read so far give to a class id."""
        return self._found.so_far()

    def parse(self, sample: Sample) -> RawRecord:
        """The record of a sample; any thread may call it.

        Raises ClientError for a label or annotation that cannot be understood.
        """
        if len(sample.parts) == 1:
            return from_payload(sample.parts[0], sample.name)
        return from_annotation(sample.parts[0], self._annotation(sample))

    def _annotation(self, sample: Sample) -> Annotation:
        found: list[object] = []
        names: dict[int, str] = {}
        for text in sample.parts[1:]:
            content = load(text, sample.name)
            if isinstance(content, dict) and "annotations" in content:
                found.append(content)
            elif isinstance(content, dict) and "class-map" in content:
                names |= class_map_names(content)
            else:
                raise ClientError(
                    f"{sample.name}: holds the JSON {shown(content)}, which is neither "
                    f'an annotation (it has "annotations") nor its metadata (it has "class-map"). '
                    f"{_ATTRIBUTES}"
                )
        if len(found) != 1:
            raise ClientError(
                f"{sample.name}: {len(found)} of its attributes hold annotations, it must be one. "
                f"{_ATTRIBUTES}"
            )
        annotation = from_object(found[0], sample.name)
        self._found.add(annotation.categories | names)
        return annotation

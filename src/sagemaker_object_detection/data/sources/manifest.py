"""Images with an augmented manifest (JSON Lines) that lists and annotates them, in File mode.

A line is ``{"source-ref": "s3://bucket/a.jpg", "bounding-box": {...}, "bounding-box-metadata":
{"class-map": {"0": "dog"}}}``; the annotation has the form of `annotations`. In memory a line takes
28 bytes beside its image's name.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sagemaker_object_detection.data.annotations import (
    AnnotationError,
    class_map_names,
    from_object,
    load,
    shown,
)
from sagemaker_object_detection.data.class_names import AnnotatedNames, FoundNames
from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.labels import from_annotation
from sagemaker_object_detection.data.listing import Listing, is_image, unlisted_remark
from sagemaker_object_detection.data.refusal import Offenders
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError, naming

_IMAGE_ATTRIBUTE = "source-ref"
_SHOWN_KEYS = 8
_CURE = (
    "Name the image's attribute and the annotation's as the channel's \"AttributeNames\" in "
    "inputdataconfig.json, or by --attribute-names IMAGE,ANNOTATION of a command."
)


class ManifestSource(Source):
    """The records that a manifest lists, in its order; a line is parsed again when it is read.

    Args:
        images: folder of the images.
        manifest: the file.
        attribute_names: of the image and of the annotation; what is not given is "source-ref", and
            the one object of a line that has annotations.

    Attributes:
        unlisted: images of the folder that no line names.
        unannotated: lines whose image has no annotation (a labelling job that failed for it).

    Raises:
        ClientError: with up to ten offenders, lines are not JSON objects, name an image that is not
            in the folder or that an earlier line names, or have several annotations.
    """

    def __init__(self, images: Path, manifest: Path, attribute_names: tuple[str, ...]) -> None:
        self._manifest = manifest
        self._image_attribute = attribute_names[0] if attribute_names else _IMAGE_ATTRIBUTE
        self._attribute = attribute_names[1] if len(attribute_names) > 1 else None
        self._found = FoundNames()
        listing = Listing.of(images)
        self._folder, self._names = listing.folder, listing.names
        self._index(listing)
        self._descriptor = os.open(manifest, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self._starts)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    @property
    def found_names(self) -> AnnotatedNames:
        """The class maps of the lines read so far."""
        return self._found.so_far()

    @property
    def unannotated(self) -> Sequence[str]:
        """Lines whose image nothing annotates."""
        return tuple(
            f"{self._where(line)} ({self._folder / self._names[file]})"
            for line, file in zip(*self._lonely, strict=True)
        )

    def name(self, index: int) -> str:
        """`train.manifest, line 12 (train/a.jpg)`."""
        return f"{self._where(self._line_numbers[index])} ({self._file(index)})"

    def read(self, index: int) -> RawRecord:
        """Image and annotation, corners in pixels of the declared size."""
        where = self._where(self._line_numbers[index])
        text = os.pread(self._descriptor, int(self._lengths[index]), int(self._starts[index]))
        content = _object(text, where)
        attribute = self._annotated_by(content, where)
        if attribute is None:
            raise AnnotationError(
                f"{where}: its annotation was there when the file was opened and is not any more. "
                "Do not change the file while it is being read."
            )
        annotation = from_object(content[attribute], f"{where}, '{attribute}'")
        names = annotation.categories | class_map_names(content.get(f"{attribute}-metadata"))
        self._found.add(names, annotation.class_ids.tolist(), index, where)
        return from_annotation(self.read_image(index), annotation)

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return files.content(self._file(index))

    def image_name(self, index: int) -> str:
        """Relative to the folder of the images."""
        return self._names[int(self._files[index])]

    @property
    def remarks(self) -> Sequence[str]:
        """What of the folder is not used."""
        return unlisted_remark(self.unlisted, self._manifest)

    def _file(self, index: int) -> str:
        return f"{self._folder}/{self._names[int(self._files[index])]}"

    def _where(self, line: int) -> str:
        return f"{self._manifest}, line {line}"

    def _index(self, listing: Listing) -> None:
        """Find the lines, their images, and what is wrong with them."""
        offenders = Offenders()
        keys: Counter[str] = Counter()
        first_line = array("i", [0]) * len(listing)
        starts, lengths, lines, places = array("q"), array("q"), array("i"), array("i")
        lonely = array("i"), array("i")
        start = 0
        with naming(self._manifest), self._manifest.open("rb") as file:
            for number, line in enumerate(file, 1):
                begin, start = start, start + len(line)
                if not line.strip():
                    continue
                where = self._where(number)
                try:
                    content = _object(line, where)
                    image = self._image(content, where, listing)
                    if first_line[image]:
                        raise AnnotationError(
                            f"{where}: the image {listing.path(image)} is that of line "
                            f"{first_line[image]} too. Keep one line for each image."
                        )
                    attribute = self._annotated_by(content, where)
                except AnnotationError as error:
                    offenders.add(str(error))
                    continue
                first_line[image] = number
                if attribute is None:
                    keys.update(content.keys())
                    lonely[0].append(number)
                    lonely[1].append(image)
                    continue
                starts.append(begin)
                lengths.append(len(line))
                lines.append(number)
                places.append(image)
        offenders.refuse(f"{self._manifest} cannot be used")
        self._starts, self._lengths = starts, lengths
        self._line_numbers, self._files = lines, places
        self._lonely = lonely
        named = zip(listing.names, first_line, strict=True)
        self.unlisted = sum(not line and is_image(name) for name, line in named)
        if keys and not len(self._starts):
            raise self._nothing_annotated(keys)

    def _image(self, content: dict[str, object], where: str, listing: Listing) -> int:
        """Place of a line's image in the listing."""
        reference = content.get(self._image_attribute)
        if not isinstance(reference, str) or not reference:
            what = shown(reference) if self._image_attribute in content else "missing"
            raise AnnotationError(
                f"{where}: '{self._image_attribute}', which names the image, is {what}. {_CURE}"
            )
        found = listing.resolve(reference)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(listing.names[one] for one in found[:5])
            raise AnnotationError(
                f"{where}: '{self._image_attribute}' is {shown(reference)}, which can be several "
                f"images: {names}. Write the path inside of the channel."
            )
        raise AnnotationError(
            f"{where}: there is no image {shown(reference)} in {listing.folder}. Add the image or "
            "remove the line."
        )

    def _annotated_by(self, content: dict[str, object], where: str) -> str | None:
        """The attribute that annotates the image, None where there is none."""
        if self._attribute is not None:
            return self._attribute if content.get(self._attribute) is not None else None
        keys = [
            key
            for key, value in content.items()
            if isinstance(value, dict) and "annotations" in value
        ]
        if len(keys) > 1:
            names = ", ".join(shown(key) for key in keys[:_SHOWN_KEYS])
            raise AnnotationError(f"{where}: several attributes have annotations: {names}. {_CURE}")
        return keys[0] if keys else None

    def _nothing_annotated(self, keys: Counter[str]) -> ClientError:
        names = ", ".join(shown(key) for key, _ in keys.most_common(_SHOWN_KEYS))
        wanted = f"an attribute '{self._attribute}'" if self._attribute else "annotations"
        return ClientError(
            f"{self._manifest}: no line has {wanted}; the attributes are {names}. {_CURE}"
        )


def _object(line: bytes, where: str) -> dict[str, object]:
    """A line as a JSON object; AnnotationError for what is none."""
    content = load(line, where, one_line=True)
    if not isinstance(content, dict):
        raise AnnotationError(
            f"{where}: holds a JSON {type(content).__name__}, not an object. A manifest has one "
            "JSON object on each line."
        )
    return content

"""The JSON that annotates one image, in the form the SageMaker service documents.

``{"file", "image_size": [{"width", "height", "depth"}], "annotations": [{"class_id", "left", "top",
"width", "height"}], "categories": [{"class_id", "name"}]}``, in pixels from the top left corner.
Files in the wild have keys in any order, class ids and numbers as strings, further keys, and
categories that do not match the annotations: all that is accepted. An augmented manifest has the
same object as one attribute of a line, without file and categories; its class names lie beside it,
in the attribute's metadata: ``{"class-map": {"0": "dog"}}``.
"""

import json
import reprlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from sagemaker_object_detection.platform.errors import ClientError

_SHOWN_FAULTS = 5
_CURES = {
    "file": '"file" is the path of the image inside its channel, or left out',
    "annotations": 'an image without objects needs "annotations": []',
    "image_size": '"image_size" is a list of one: [{"width": 500, "height": 400, "depth": 3}]',
    "class_id": "class ids are whole numbers from 0",
}
_OBJECT_FORM = (
    'an object is {"class_id": 0, "left": 111, "top": 134, "width": 61, "height": 128}, in pixels'
)
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
_REPR.maxdict = _REPR.maxlist = 5


class AnnotationError(ClientError):
    """An annotation that cannot be read; the text names file, place in it and cure."""


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """What one annotation file says of its image.

    ``size``: declared (width, height); ``boxes_px``: (n, 4) float32 corners xyxy, as declared (they
    may overhang or have no area); ``class_ids``: (n,) int64; ``categories``: class id -> name, may
    be empty or incomplete.
    """

    size: tuple[int, int]
    boxes_px: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    categories: dict[int, str]


_Pixels = Annotated[float, Meta(ge=-1e7, le=1e7)]
_Side = Annotated[int, Meta(gt=0, le=10**6)]
_ClassId = Annotated[int, Meta(ge=-(2**31), lt=2**31)]
_One = Meta(min_length=1, max_length=1)


class _Object(Struct, gc=False):
    class_id: _ClassId
    left: _Pixels
    top: _Pixels
    width: _Pixels
    height: _Pixels


class _Size(Struct, gc=False):
    width: _Side
    height: _Side


class _Frame(Struct, kw_only=True):
    file: str | None = None  # which image it means is for image_pairs to find out
    image_size: Annotated[list[Any], _One]
    annotations: list[Any]


class _Document(_Frame, kw_only=True):
    image_size: Annotated[list[_Size], _One]
    annotations: list[_Object]
    categories: Any = None


def parse(text: bytes | str, name: str) -> Annotation:
    """Read the annotation of one image from its JSON text; `name` is what errors call it.

    Raises AnnotationError, which lists the faults of the text together.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    try:
        document = msgspec.json.decode(data.removeprefix(BOM_UTF8), type=_Document, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return from_object(load(text, name), name)
    return _annotation(document)


def from_object(content: object, name: str) -> Annotation:
    """Read the annotation of one image from parsed JSON, as `parse` does."""
    if not isinstance(content, dict):
        raise AnnotationError(
            f"{name}: holds a JSON {type(content).__name__}, not an object with the annotations of "
            "one image. Write one object for each image."
        )
    try:
        return _annotation(msgspec.convert(content, _Document, strict=False))
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise AnnotationError(_refusal(list(_faults(content)), name)) from None


def _annotation(document: _Document) -> Annotation:
    objects = document.annotations
    boxes = np.array(
        [(o.left, o.top, o.left + o.width, o.top + o.height) for o in objects], np.float32
    ).reshape(-1, 4)
    class_ids = np.array([o.class_id for o in objects], np.int64)
    size = document.image_size[0]
    return Annotation((size.width, size.height), boxes, class_ids, _names(document.categories))


def class_map_names(metadata: object) -> dict[int, str]:
    """Class id -> name from an attribute's metadata; what makes no sense in it is left out."""
    class_map = metadata.get("class-map") if isinstance(metadata, dict) else None
    return _agreed(class_map.items() if isinstance(class_map, dict) else ())


def load(text: bytes | str, name: str, one_line: bool = False) -> object:
    """The value of a JSON text; `name` is what errors call it.

    Raises AnnotationError with line and column of the fault; column alone where `name` tells the
    line already.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value: object = json.loads(text)
        return value
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{name}: byte {error.start} is not UTF-8 text. Save the file as UTF-8 JSON."
        ) from None
    except json.JSONDecodeError as error:
        place = (
            f"column {error.colno}" if one_line else f"line {error.lineno}, column {error.colno}"
        )
        raise AnnotationError(
            f"{name}, {place}: not valid JSON ({error.msg}). Mend the file at that place or write "
            "it again."
        ) from None
    except ValueError:  # the one other that json raises: Python's limit of 4,300 digits
        raise AnnotationError(
            f"{name}: holds a whole number of thousands of digits. Write the file again."
        ) from None
    except RecursionError:
        raise AnnotationError(
            f"{name}: lists or objects nested too deeply to be an annotation. Write the file again."
        ) from None


def shown(value: object) -> str:
    """A value of the input as a message shows it: never long, whatever it is."""
    return _REPR.repr(value)


def _names(categories: object) -> dict[int, str]:
    """Class names from a list that nothing else relies on: entries that make no sense are left out.

    The first name of a class id counts.
    """
    entries = categories if isinstance(categories, list) else ()
    return _agreed((e.get("class_id"), e.get("name")) for e in entries if isinstance(e, dict))


def _agreed(pairs: Iterable[tuple[object, object]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for class_id, name in pairs:
        if isinstance(class_id, str) and len(class_id) < 20 and class_id.strip().isdecimal():
            class_id = int(class_id)
        if not isinstance(class_id, int) or isinstance(class_id, bool):
            continue
        if isinstance(name, str) and _is_text(name) and abs(class_id) < 2**31:
            names.setdefault(class_id, name)
    return names


def _is_text(name: str) -> bool:
    """Whether it can be written to a file: JSON may hold halves of characters."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _faults(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(place, what is wrong there, cure), field by field."""
    yield from _wrong_fields(content, _Frame, "")
    kinds: dict[str, type[Struct]] = {"image_size": _Size, "annotations": _Object}
    for key, kind in kinds.items():
        entries = content.get(key)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            yield from _wrong_fields(entry, kind, f"{key}[{number}]")


def _wrong_fields(value: object, kind: type[Struct], place: str) -> Iterator[tuple[str, str, str]]:
    inside = _CURES["image_size"] if kind is _Size else _OBJECT_FORM
    if not isinstance(value, dict):
        yield place, f"{shown(value)} (not an object)", inside
        return
    for field in msgspec.structs.fields(kind):
        where = f"{place}.{field.name}".lstrip(".")
        cure = _CURES.get(field.name, inside)
        if field.name not in value:
            if field.required:
                yield where, "missing", cure
            continue
        try:
            msgspec.convert(value[field.name], field.type, strict=False)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            yield where, f"{shown(value[field.name])} ({error})", cure


def _refusal(faults: list[tuple[str, str, str]], name: str) -> str:
    texts = [f"{place} is {given}" for place, given, _ in faults[:_SHOWN_FAULTS]]
    cures = dict.fromkeys(cure for _, _, cure in faults[:_SHOWN_FAULTS])
    if len(faults) > _SHOWN_FAULTS:
        texts.append(f"further faults: {len(faults) - _SHOWN_FAULTS}")
    return f"{name}: {'; '.join(texts)}. Mend the file: {'; '.join(cures)}."

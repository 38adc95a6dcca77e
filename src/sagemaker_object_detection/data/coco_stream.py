"""The entries of a COCO file's lists, one after the other, in bounded memory.

Only what is asked for is built, and lists of lists (such as segmentations) are stepped over. The
events of ijson are counted here since its own objects take memory by the square of their depth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ijson
import ijson.backends.yajl2_c as yajl

from sagemaker_object_detection.data.annotations import load
from sagemaker_object_detection.platform.errors import ClientError, naming

_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})
_BUFFER = 2**16
_REREAD = 2**26
"""Bytes up to which a broken file is read once more, as a whole, for line and column."""

_Events = Iterator[tuple[str, Any]]
_NESTED = "[...]"


class Entry(NamedTuple):
    """One object of a list; `value` is None where there is another thing than an object."""

    key: str
    number: int
    value: Mapping[str, Any] | None


def entries(path: Path, wanted: Mapping[str, Collection[str]]) -> Iterator[Entry]:
    """The objects in the lists at the top of a JSON file, in the order of the file.

    Args:
        path: the file.
        wanted: name of a list -> names of the values that are wanted of each of its objects. A
            value is a number, a text, a truth value, None, or a list of these.

    Raises:
        ClientError: it is not JSON, has no object at the top, or lacks one of the lists.
    """
    missing = set(wanted)
    try:
        with naming(path), path.open("rb") as file:
            file.seek(3 if file.read(3) == b"\xef\xbb\xbf" else 0)
            events = yajl.basic_parse(file, use_float=True, buf_size=_BUFFER)
            numbers = dict.fromkeys(wanted, 0)
            if next(events)[0] != "start_map":
                raise _no_coco(path, "it does not hold an object")
            for event, key in events:
                if event == "end_map":
                    break
                event, _ = next(events)
                if key not in wanted or event != "start_array":
                    _skip(event, events)
                    continue
                missing.discard(key)
                for value in _objects(events, wanted[key]):
                    yield Entry(key, numbers[key], value)
                    numbers[key] += 1
            for _ in events:  # none, or the fault that something follows the object
                pass
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise _not_json(path, error) from None
    if missing:
        names = " and ".join(f'"{key}"' for key in wanted if key in missing)
        raise _no_coco(path, f"it has no list {names}")


def _objects(events: _Events, wanted: Collection[str]) -> Iterator[Mapping[str, Any] | None]:
    """The objects of a list that has begun, None for each other value."""
    for event, _ in events:
        if event == "end_array":
            return
        if event != "start_map":
            _skip(event, events)
            yield None
            continue
        entry = {}
        for event, key in events:
            if event == "end_map":
                break
            event, value = next(events)
            if key in wanted:
                entry[key] = _value(event, value, events)
            else:
                _skip(event, events)
        yield entry


def _value(event: str, value: object, events: _Events) -> object:
    if event == "start_map":
        _skip(event, events)
        return {}
    if event != "start_array":
        return value
    items: list[object] = []
    for event, item in events:
        if event == "end_array":
            break
        _skip(event, events)
        items.append(_NESTED if event in _STARTS else item)
    return items


def _skip(event: str, events: _Events) -> None:
    """Step over the value that has begun with `event`."""
    if event not in _STARTS:
        return
    depth = 1
    for event, _ in events:
        if event == "number":
            continue
        if event in _STARTS:
            depth += 1
        elif event in _ENDS:
            depth -= 1
            if not depth:
                return


def _not_json(path: Path, error: Exception) -> ClientError:
    if path.stat().st_size <= _REREAD:
        try:
            load(path.read_bytes(), str(path))
        except ClientError as known:
            return known
    what = " ".join(str(error).replace("(right here) ------^", "").split())
    return ClientError(
        f"{path}: not JSON that can be read ({what}). Mend the file at that place or write it "
        "again: NaN, Infinity and numbers beyond 64 bits have no place in it."
    )


def _no_coco(path: Path, what: str) -> ClientError:
    return ClientError(
        f'{path}: {what}. A COCO file is {{"images": [...], "annotations": [...], "categories": '
        "[...]}; write the file again."
    )

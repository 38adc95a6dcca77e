"""The description of a YOLO data set, ``data.yaml``: class names and where the splits are.

Of YAML only what such files use is read, and only for the keys ``path``, ``train``, ``val``,
``test``, ``names`` and ``nc``: a word, a list and a mapping of words, on lines of their own or in
brackets. Anything else under these keys is refused by its line; other keys are not looked at.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.text_files import read_text

SPLITS = ("train", "val", "test")

_KEYS = frozenset({"path", "names", "nc", *SPLITS})
_TOP_LEVEL = re.compile(r"""(["']?)([^\s"'#\-\[{][^"':]*)\1\s*:(?:\s+(.*)|)$""")
_ENTRY = re.compile(r"""((?:"[^"]*"|'[^']*'|[^"'\s][^:]*?))\s*:(?:\s+(.*)|)$""")
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""")
_PLAIN_IN_BRACKETS = re.compile(r"(?:[^\[\]{},:]|:(?![\s,\]}]|$))*")
_NOT_READ = "&*!|>%@`"
_CURE = "Write it as names: [cat, dog], as one '- name' a line, or as one '0: name' a line."

_Value = str | list[str] | dict[str, str] | None


@dataclass(frozen=True)
class YoloConfig:
    """``names``: () where the file has none; ``splits``: train, val, test -> paths as written."""

    file: Path
    root: str | None
    names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]


@dataclass
class _Block:
    """What stands under a key: (line number, text) of its lines, without comments."""

    line: int
    lines: list[tuple[int, str]]


def find_config(source: Path) -> YoloConfig | None:
    """The description of the data set in a folder: data.yaml, or the only YAML file there.

    Raises ClientError for several of them, and as `parse_config`.
    """
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
    chosen = [path for path in found if path.stem.lower() == "data"] or found
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        raise ClientError(
            f"{source} holds several YAML files ({names}). Call the one that describes the data "
            "set data.yaml."
        )
    return parse_config(chosen[0]) if chosen else None


def parse_config(file: Path) -> YoloConfig:
    """Read a data.yaml. Raises ClientError that names file, line and what cannot be read there."""
    values = {key: _value(block, file) for key, block in _blocks(file).items()}
    names = _names(values.get("names"), file)
    count = values.get("nc")
    if count is not None and names and count != str(len(names)):
        raise ClientError(
            f"{file}: nc is {count}, but names has {len(names)} entries. Correct one of them."
        )
    root = values.get("path")
    if root is not None and not isinstance(root, str):
        raise ClientError(f"{file}: path is {root!r}, it must be one folder.")
    splits: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        value = values.get(split)
        if isinstance(value, dict):
            raise ClientError(f"{file}: {split} is {value!r}, it must be a folder or a list.")
        if value:
            splits[split] = (value,) if isinstance(value, str) else tuple(value)
    return YoloConfig(file, root, names, splits)


def _names(value: _Value, file: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        raise ClientError(f"{file}: names is {value!r}. {_CURE}")
    if isinstance(value, list):
        return tuple(value)
    try:
        numbered = {int(key): name for key, name in value.items()}
    except ValueError as error:
        raise ClientError(f"{file}: names has a class id that is no number ({error}).") from None
    missing = next((n for n in range(len(numbered)) if n not in numbered), None)
    if missing is not None:
        raise ClientError(
            f"{file}: names has {len(numbered)} entries but none for class id {missing}. Number "
            "the classes from 0 without gaps."
        )
    return tuple(numbered[number] for number in range(len(numbered)))


def _blocks(file: Path) -> dict[str, _Block]:
    """The lines of the keys that matter."""
    blocks: dict[str, _Block] = {}
    current: _Block | None = None
    for number, line in enumerate(read_text(file).splitlines(), 1):
        text = _without_comment(line).rstrip()
        if not text or text in ("---", "..."):
            continue
        match = _TOP_LEVEL.match(text)
        if match is not None:
            key, rest = match[2].strip(), match[3]
            current = _Block(number, [(number, rest.strip())] if rest else [])
            if key in blocks:
                _refuse(file, number, f"the key '{key}' for the second time", "Remove one.")
            if key in _KEYS:
                blocks[key] = current
        elif current is not None:
            current.lines.append((number, text.strip()))
        else:
            _refuse(file, number, repr(text), "The file must hold lines 'key: value'.")
    return blocks


def _without_comment(line: str) -> str:
    at = 0
    while at < len(line):
        if line[at] in "\"'" and (not line[:at].strip() or line[:at].rstrip()[-1] in "[{,:-"):
            quoted = _QUOTED.match(line, at)
            if quoted is not None:
                at = quoted.end()
                continue
        if line[at] == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at]
        at += 1
    return line


def _value(block: _Block, file: Path) -> _Value:
    if not block.lines:
        return None
    number, first = block.lines[0]
    if first[0] in "[{":
        return _Brackets(" ".join(text for _, text in block.lines), file, number).value()
    if first == "-" or first.startswith("- "):
        return [_item(text, file, line) for line, text in block.lines]
    entry = _ENTRY.match(first)
    if entry is not None and number != block.line:
        pairs: dict[str, str] = {}
        for line, text in block.lines:
            _add(pairs, *_pair(text, file, line), file, line)
        return pairs
    if len(block.lines) > 1:
        _refuse(file, block.lines[1][0], repr(block.lines[1][1]), _CURE)
    return _scalar(first, file, number)


def _item(text: str, file: Path, line: int) -> str:
    if text != "-" and not text.startswith("- "):
        _refuse(file, line, f"{text!r} in a list", "Each entry must begin with '- '.")
    return _scalar(text[1:].strip(), file, line)


def _pair(text: str, file: Path, line: int) -> tuple[str, str]:
    entry = _ENTRY.match(text)
    if entry is None:
        _refuse(file, line, repr(text), _CURE)
    return _scalar(entry[1], file, line), _scalar((entry[2] or "").strip(), file, line)


def _add(pairs: dict[str, str], key: str, word: str, file: Path, line: int) -> None:
    if key in pairs:
        _refuse(file, line, f"{key!r} for the second time", "Remove one.")
    pairs[key] = word


def _scalar(text: str, file: Path, line: int) -> str:
    """A word, quoted or not."""
    if not text:
        return ""
    if text[0] in "\"'":
        if _QUOTED.fullmatch(text) is None:
            _refuse(file, line, f"{text} is not quoted to its end", "Close the quotation mark.")
        if text[0] == "'":
            return text[1:-1].replace("''", "'")
        try:
            return str(json.loads(text))
        except json.JSONDecodeError:
            _refuse(file, line, f"{text} has an escape that is not known", "Use single quotes.")
    if text[0] in _NOT_READ or text[0] in "[{" or ": " in text:
        _refuse(file, line, repr(text), _CURE)
    return text


def _refuse(file: Path, line: int, what: str, cure: str) -> NoReturn:
    raise ClientError(f"{file}, line {line}: {what}. {cure}")


class _Brackets:
    """Reads ``[a, 'b']`` and ``{0: a, 1: b}``, of words only."""

    def __init__(self, text: str, file: Path, line: int) -> None:
        self._text = text
        self._at = 0
        self._file = file
        self._line = line

    def value(self) -> list[str] | dict[str, str]:
        """The whole text; nothing may follow the closing bracket."""
        closing = "]" if self._take() == "[" else "}"
        words: list[str] = []
        pairs: dict[str, str] = {}
        while self._peek() != closing:
            word = self._word()
            if closing == "}":
                if self._peek() != ":":
                    self._fail()
                self._take()
                _add(pairs, word, self._word(), self._file, self._line)
            else:
                words.append(word)
            if self._peek() == ",":
                self._take()
            elif self._peek() != closing:
                self._fail()
        self._take()
        if self._peek():
            self._fail()
        return words if closing == "]" else pairs

    def _peek(self) -> str:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        mark = self._peek()
        self._at += 1
        return mark

    def _word(self) -> str:
        kind = _QUOTED if self._peek() in ('"', "'") else _PLAIN_IN_BRACKETS
        match = kind.match(self._text, self._at)
        if match is None or not match[0].strip():
            self._fail()
        self._at = match.end()
        return _scalar(match[0].strip(), self._file, self._line)

    def _fail(self) -> NoReturn:
        place = self._text[self._at : self._at + 20] or "the end"
        _refuse(self._file, self._line, f"the brackets cannot be read at {place!r}", _CURE)

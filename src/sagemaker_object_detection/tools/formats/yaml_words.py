"""Words, lists and mappings out of a YAML file.

Of YAML only what descriptions of data sets use is read, and only for the keys that are asked for: a
word, a list and a mapping of words, on lines of their own or in brackets. Anything else under these
keys is refused by its line; other keys are not looked at.
"""

import json
import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.text_files import read_text

Value = str | list[str] | dict[str, str] | None
CURE = "Write it as names: [cat, dog], as one '- name' a line, or as one '0: name' a line."

_TOP_LEVEL = re.compile(r"""(["']?)([^\s"'#\-\[{][^"':]*)\1\s*:(?:\s+(.*)|)$""")
_ENTRY = re.compile(r"""((?:"[^"]*"|'[^']*'|[^"'\s][^:]*?))\s*:(?:\s+(.*)|)$""")
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""")
_PLAIN_IN_BRACKETS = re.compile(r"(?:[^\[\]{},:]|:(?![\s,\]}]|$))*")
_NOT_READ = "&*!|>%@`"


@dataclass
class _Block:
    """What stands under a key: (line number, text) of its lines, without comments."""

    line: int
    lines: list[tuple[int, str]]


def read_words(file: Path, keys: Set[str]) -> dict[str, Value]:
    """What stands under these keys; a key that the file does not have is left out.

    Raises ClientError that names file, line and what cannot be read there.
    """
    return {key: _value(block, file) for key, block in _blocks(file, keys).items()}


def _blocks(file: Path, keys: Set[str]) -> dict[str, _Block]:
    """The lines of these keys."""
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
            if key in keys:
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


def _value(block: _Block, file: Path) -> Value:
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
        _refuse(file, block.lines[1][0], repr(block.lines[1][1]), CURE)
    return _scalar(first, file, number)


def _item(text: str, file: Path, line: int) -> str:
    if text != "-" and not text.startswith("- "):
        _refuse(file, line, f"{text!r} in a list", "Each entry must begin with '- '.")
    return _scalar(text[1:].strip(), file, line)


def _pair(text: str, file: Path, line: int) -> tuple[str, str]:
    entry = _ENTRY.match(text)
    if entry is None:
        _refuse(file, line, repr(text), CURE)
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
        _refuse(file, line, repr(text), CURE)
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
        _refuse(self._file, self._line, f"the brackets cannot be read at {place!r}", CURE)

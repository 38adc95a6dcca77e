"""Kinds of hyperparameter values: what text is accepted, how it reads, how it is written.

SageMaker hands every hyperparameter over as text, and every client spells it in its own way:
"True" and "true", "16" and "16.0", "0.001" and "1e-3", with or without quotes. A kind reads all of
these and raises ValueError, whose text says only what is wrong, when the value does not fit.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
TRUE = {"true", "1", "1.0", "yes", "on"}
FALSE = {"false", "0", "0.0", "no", "off"}
QUOTES = ('"', "'")


class Kind(Protocol):
    """One kind of value."""

    @property
    def description(self) -> str:
        """What is accepted, to follow "must be"."""

    def parse(self, text: str) -> object:
        """Read a stripped, non-empty text. Raises ValueError."""

    def write(self, value: object) -> str:
        """The text that parse reads as this value again."""


def unquoted(text: str) -> str:
    """A stripped text without the quotes around it; "a","b" is no such text."""
    quote, inside = text[:1], text[1:-1]
    if quote in QUOTES and text.endswith(quote) and len(text) > 1 and quote not in inside:
        return inside.strip()
    return text


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    return float(text)


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` up to `high` (inclusive; None: no limit)."""

    low: int
    high: int | None = None

    @property
    def description(self) -> str:
        if self.high is None:
            return f"a whole number >= {self.low}"
        return f"a whole number from {self.low} to {self.high}"

    def parse(self, text: str) -> int:
        number = _number(text)
        if not number.is_integer():
            raise ValueError("is not a whole number")
        value = int(text) if text.lstrip("+-").isdigit() else int(number)
        if value < self.low:
            raise ValueError("is too small")
        if self.high is not None and value > self.high:
            raise ValueError("is too large")
        return value

    def write(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True)
class Real:
    """A number between `low` and `high`; each end is part of the range or not."""

    low: float
    high: float
    low_in: bool
    high_in: bool

    @property
    def description(self) -> str:
        lower = ">=" if self.low_in else ">"
        upper = "<=" if self.high_in else "<"
        return f"a number {lower} {self.low:g} and {upper} {self.high:g}"

    def parse(self, text: str) -> float:
        value = _number(text)
        if value < self.low or (value == self.low and not self.low_in):
            raise ValueError("is too small")
        if value > self.high or (value == self.high and not self.high_in):
            raise ValueError("is too large")
        if value == 0 and math.copysign(1, value) < 0:
            return 0.0
        return value

    def write(self, value: object) -> str:
        return repr(value)


@dataclass(frozen=True)
class Choice:
    """One of a few words; upper and lower case are the same."""

    values: tuple[str, ...]

    @property
    def description(self) -> str:
        return "one of " + ", ".join(self.values)

    def parse(self, text: str) -> str:
        word = text.lower()
        if word in self.values:
            return word
        near = get_close_matches(word, self.values, n=1)
        raise ValueError("is not known" + (f" (did you mean '{near[0]}'?)" if near else ""))

    def write(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True)
class Flag:
    """Yes or no, written as `true` and `false` say."""

    true: str = "True"
    false: str = "False"

    @property
    def description(self) -> str:
        return f"{self.true} or {self.false}"

    def parse(self, text: str) -> bool:
        word = text.lower()
        if word not in TRUE | FALSE:
            raise ValueError("is neither yes nor no")
        return word in TRUE

    def write(self, value: object) -> str:
        return "" if value is None else self.true if value else self.false


@dataclass(frozen=True)
class AutoFlag:
    """auto, or yes or no as Flag reads them, which are 1 and 0."""

    @property
    def description(self) -> str:
        return "one of auto, 0, 1"

    def parse(self, text: str) -> str:
        if text.lower() == "auto":
            return "auto"
        return "1" if Flag().parse(text) else "0"

    def write(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True)
class Pattern:
    """A regular expression; "false" and "none", which some clients send, mean no pattern."""

    @property
    def description(self) -> str:
        return "a regular expression of Python"

    def parse(self, text: str) -> str:
        if text.lower() in {"false", "none"}:
            return ""
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"is not a regular expression ({error})") from None
        return text

    def write(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True)
class Subset:
    """Some of a few words, separated by commas; yes and "all" are all of them, no and "none" none.

    They keep the order of `values`.
    """

    values: tuple[str, ...]

    @property
    def description(self) -> str:
        return f"all, none, or some of {', '.join(self.values)}, separated by commas"

    def parse(self, text: str) -> tuple[str, ...]:
        word = text.lower()
        if word in TRUE | {"all"}:
            return self.values
        if word in FALSE | {"none"}:
            return ()
        words = _items(word)
        for item in words:
            Choice(self.values).parse(item)
        return tuple(value for value in self.values if value in words)

    def write(self, value: object) -> str:
        if not isinstance(value, tuple):
            raise TypeError(f"expected a tuple of words, got {value!r}")
        return "all" if value == self.values else ",".join(value) or "none"


@dataclass(frozen=True)
class Epochs:
    """A list of epochs, each larger than the one before, separated by commas."""

    @property
    def description(self) -> str:
        return "epochs >= 1 in ascending order, separated by commas, like 10, 20"

    def parse(self, text: str) -> tuple[int, ...]:
        epochs: list[int] = []
        for item in _items(text):
            try:
                epoch = Whole(1).parse(item)
            except ValueError as error:
                raise ValueError(f"holds '{item}', which {error}") from None
            if epochs and epoch <= epochs[-1]:
                raise ValueError(f"is not ascending: {epoch} follows {epochs[-1]}")
            epochs.append(epoch)
        return tuple(epochs)

    def write(self, value: object) -> str:
        if not isinstance(value, tuple):
            raise TypeError(f"expected a tuple of epochs, got {value!r}")
        return ",".join(str(epoch) for epoch in value)


@dataclass(frozen=True)
class Names:
    """Different names, separated by commas; as a JSON list where a name has a comma in it."""

    @property
    def description(self) -> str:
        return "names separated by commas, or a JSON list of them"

    def parse(self, text: str) -> tuple[str, ...]:
        try:
            items = json.loads(text) if text.startswith("[") else _items(text)
        except (ValueError, RecursionError):
            items = _items(text)
        names = tuple(item.strip() if isinstance(item, str) else "" for item in items)
        if not all(names):
            raise ValueError("holds something that is not a name")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"holds '{twice}' twice")
        return names

    def write(self, value: object) -> str:
        if not isinstance(value, tuple):
            raise TypeError(f"expected a tuple of names, got {value!r}")
        if any("," in name or name.startswith(("[", *QUOTES)) for name in value):
            return json.dumps(value, ensure_ascii=False)
        return ",".join(value)


def _items(text: str) -> list[str]:
    """What commas separate, with or without brackets around all and quotes around each.

    SageMaker's SDK writes a list as Python does, ['a', 'b'].
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
    return [unquoted(item.strip()) for item in text.split(",")] if text else []


@dataclass(frozen=True)
class Setting:
    """One hyperparameter: its kind and range, its default, and what it does.

    required: there is no default. service: SageMaker's own algorithm has it as well.
    extra: values of ours that SageMaker's algorithm does not have.
    """

    name: str
    kind: Kind
    default: object
    text: str
    required: bool
    service: bool
    extra: tuple[str, ...]

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty for none."""
        return "" if self.required or self.default is None else self.kind.write(self.default)


def row(
    kind: Kind,
    default: object,
    text: str,
    *,
    service: bool = True,
    extra: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 - like dataclasses.field, it stands where a value of any type does
    """A field with a default. None as the default means: decided later."""
    metadata = {"kind": kind, "text": text, "service": service, "extra": extra}
    return dataclasses.field(default=default, metadata=metadata)


def required(kind: Kind, text: str) -> Any:  # noqa: ANN401 - as row
    """A field that must be given."""
    metadata = {"kind": kind, "text": text, "service": True, "extra": ()}
    return dataclasses.field(metadata=metadata)


def settings_of(table: type) -> tuple[Setting, ...]:
    """The rows of a dataclass whose fields were all made by row and required."""
    return tuple(_setting(field) for field in dataclasses.fields(table))


def _setting(field: "dataclasses.Field[Any]") -> Setting:
    missing = field.default is dataclasses.MISSING
    default = None if missing else field.default
    return Setting(field.name, default=default, required=missing, **field.metadata)

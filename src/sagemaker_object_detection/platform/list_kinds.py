"""Kinds of hyperparameter values that are lists, see kinds."""

import json
from dataclasses import dataclass

from sagemaker_object_detection.platform.kinds import FALSE, QUOTES, TRUE, Choice, Whole, unquoted


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

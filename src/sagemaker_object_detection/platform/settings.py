"""A setting: one row of the hyperparameter table, kept in a field of a dataclass.

The field gives the name and the type that a type checker sees, the row everything else, so that
reading, checking and documentation cannot drift apart.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from sagemaker_object_detection.platform.kinds import Kind


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

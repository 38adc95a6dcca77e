"""SageMaker's own model of its requests, as botocore brings it, and all that it says of a request.

botocore itself looks at types, required members and minima alone; patterns, enumerations and
maxima are left to the service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

_SESSION = pytest.importorskip("botocore.session", reason="boto3 is not installed")
_VALIDATE = pytest.importorskip("botocore.validate")
_XFORM = pytest.importorskip("botocore").xform_name

# Java's character classes in the model, as Python writes them.
_CLASSES = {r"\p{ASCII}": r"[\x00-\x7f]", r"\p{Print}": r"\x20-\x7e", r"\z": r"\Z"}


@cache
def operations(service: str) -> Mapping[str, Any]:
    """Input shapes by the name of boto3's method."""
    model = _SESSION.get_session().get_service_model(service)
    return {_XFORM(name): model.operation_model(name).input_shape for name in model.operation_names}


def faults(service: str, operation: str, request: Mapping[str, Any]) -> list[str]:
    """All that the model has against a request."""
    shape = operations(service)[operation]
    report = _VALIDATE.ParamValidator().validate(request, shape)
    found = [report.generate_report()] if report.has_errors() else []
    return found or list(_limits(shape, request, operation))


def _limits(shape: Any, value: Any, where: str) -> Iterator[str]:  # noqa: ANN401
    yield from _own_limits(shape, value, where)
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from _limits(shape.members[name], member, f"{where}.{name}")
    elif shape.type_name == "list":
        for index, member in enumerate(value):
            yield from _limits(shape.member, member, f"{where}[{index}]")
    elif shape.type_name == "map":
        for key, member in value.items():
            yield from _limits(shape.key, key, f"{where}: key")
            yield from _limits(shape.value, member, f"{where}[{key}]")


def _own_limits(shape: Any, value: Any, where: str) -> Iterator[str]:  # noqa: ANN401
    limits = shape.metadata
    size = len(value) if hasattr(value, "__len__") else value
    if "enum" in limits and value not in limits["enum"]:
        yield f"{where}: {value!r} is not in the enumeration"
    if "min" in limits and size < limits["min"]:
        yield f"{where}: {size} is below {limits['min']}"
    if "max" in limits and size > limits["max"]:
        yield f"{where}: {size} is above {limits['max']}"
    if "pattern" in limits and not re.fullmatch(_python(limits["pattern"]), value):
        yield f"{where}: {value!r} is not like {limits['pattern']}"


def _python(pattern: str) -> str:
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    return pattern

"""A failure as it is told from process to process."""

from __future__ import annotations

import json

from sagemaker_object_detection.platform.errors import (
    AlgorithmError,
    ClientError,
    JobError,
    PlatformError,
)

_KINDS: dict[str, type[JobError]] = {
    kind.label: kind for kind in (ClientError, AlgorithmError, PlatformError)
}


def by(who: object, error: JobError) -> JobError:
    """The same kind of failure with the name of the process that it happened to before its first
    fault.
    """
    first, *others = error.faults
    return _KINDS[error.label](f"{who}: {first}", *others)


def encode(error: JobError) -> bytes:
    """The failure as bytes, which decode reads."""
    return json.dumps([error.label, *error.faults]).encode()


def decode(message: bytes) -> JobError:
    """The failure that encode wrote; whatever else came is one of the platform."""
    try:
        label, *faults = json.loads(message)
        return _KINDS[label](*map(str, faults))
    except (ValueError, KeyError, TypeError):
        return PlatformError(f"An unreadable message of failure came: {message[:200]!r}.")

"""What the environment says about the endpoint, read once into a frozen value."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.kinds import Choice, Kind, Real, Whole
from sagemaker_object_detection.platform.logs import LogLevel

_MEGABYTE = 2**20

_VARIABLES: Mapping[str, tuple[str, Kind]] = {
    "port": ("SAGEMAKER_BIND_TO_PORT", Whole(1, 65535)),
    "workers": ("SAGEMAKER_MODEL_SERVER_WORKERS", Whole(1)),
    "timeout": ("SAGEMAKER_MODEL_SERVER_TIMEOUT", Whole(1)),
    "max_payload_mb": ("SAGEMAKER_MAX_PAYLOAD_IN_MB", Whole(0, 1024)),
    "response": ("OBJECT_DETECTION_RESPONSE", Choice(("objects", "builtin"))),
    "threshold": ("OBJECT_DETECTION_THRESHOLD", Real(0, 1, True, True)),
    "log_level": ("SAGEMAKER_CONTAINER_LOG_LEVEL", LogLevel()),
}


@dataclass(frozen=True)
class Settings:
    """Settings of an endpoint.

    timeout: seconds after which a request that has no answer is given up.
    max_payload_mb: the largest body; SageMaker gives 0 for "no limit" in batch transform.
    response: the form of an answer when the request asks for none, objects or builtin.
    threshold: detections need a score greater than this; None: as the form has it.
    log_level: what is less important than this is not logged, on the scale of Python's logging.
    """

    port: int = 8080
    workers: int = 1
    timeout: int = 60
    max_payload_mb: int = 25
    response: str = "objects"
    threshold: float | None = None
    log_level: int = logging.INFO

    @property
    def max_body_bytes(self) -> int | None:
        """The largest body in bytes, None for no limit."""
        return self.max_payload_mb * _MEGABYTE or None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the variables that are set and not empty.

        Raises ClientError with all faults, each naming variable, value and cure.
        """
        values: dict[str, object] = {}
        faults = []
        for field in fields(cls):
            variable, kind = _VARIABLES[field.name]
            text = environ.get(variable, "").strip()
            if not text:
                continue
            try:
                values[field.name] = kind.parse(text)
            except ValueError as error:
                faults.append(
                    f"The environment variable {variable} is {text!r}, which {error}. Give "
                    f"{kind.description}, or unset it."
                )
        if faults:
            raise ClientError(*faults)
        return cls(**values)  # type: ignore[arg-type]

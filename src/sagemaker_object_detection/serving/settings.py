"""What the environment says about the endpoint, read once into a frozen value."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from ipaddress import IPv4Address

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.kinds import Choice, Flag, Kind, Real, Whole
from sagemaker_object_detection.platform.logs import LogLevel
from sagemaker_object_detection.serving import formats

log = logging.getLogger(__name__)

AUTO, OPENVINO, MXNET = "auto", "openvino", "mxnet"
NO_MEAN = (0.0, 0.0, 0.0)
_MEGABYTE = 2**20
BATCH_TIMEOUT = 600
"""Seconds that a batch transform waits for an answer (AWS: API_ModelClientConfig)."""


@dataclass(frozen=True)
class Colour:
    """Three numbers in 0..255, for red, green and blue."""

    @property
    def description(self) -> str:
        return "three numbers in 0..255 for red, green and blue, as 123,117,104"

    def parse(self, text: str) -> tuple[float, ...]:
        parts = text.split(",")
        if len(parts) != 3:
            raise ValueError(f"has {len(parts)} parts")
        return tuple(Real(0, 255, True, True).parse(part.strip()) for part in parts)

    def write(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(map(str, value))


@dataclass(frozen=True)
class Threshold:
    """A score, or auto: None."""

    @property
    def description(self) -> str:
        return "auto or a number in 0..1"

    def parse(self, text: str) -> float | None:
        """Raises ValueError."""
        return None if text.lower() == AUTO else Real(0, 1, True, True).parse(text)

    def write(self, value: object) -> str:
        """Text that parse reads."""
        return AUTO if value is None else str(value)


@dataclass(frozen=True)
class Accept:
    """An Accept header that can be answered."""

    @property
    def description(self) -> str:
        return f"one of {formats.offered()}"

    def parse(self, text: str) -> str:
        try:
            formats.choose(text, Settings.response)
        except formats.NotAcceptable:
            raise ValueError("names nothing that can be answered") from None
        return text

    def write(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True)
class Address:
    """An IPv4 address of this machine."""

    @property
    def description(self) -> str:
        return "an IPv4 address, such as 127.0.0.1; 0.0.0.0 means all"

    def parse(self, text: str) -> str:
        """Raises ValueError."""
        return str(IPv4Address(text))

    def write(self, value: object) -> str:
        """Text that parse reads."""
        return str(value)


PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
HOST_VARIABLE = "OBJECT_DETECTION_HOST"

_VARIABLES: Mapping[str, tuple[str, Kind]] = {
    "host": (HOST_VARIABLE, Address()),
    "port": (PORT_VARIABLE, Whole(1, 65535)),
    "workers": ("SAGEMAKER_MODEL_SERVER_WORKERS", Whole(1, 256)),
    "timeout": ("SAGEMAKER_MODEL_SERVER_TIMEOUT", Whole(1, 3600)),
    "max_payload_mb": ("SAGEMAKER_MAX_PAYLOAD_IN_MB", Whole(0, 1024)),
    "accept": ("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", Accept()),
    "response": ("OBJECT_DETECTION_RESPONSE", Choice(("objects", "builtin"))),
    "threshold": ("OBJECT_DETECTION_THRESHOLD", Threshold()),
    "engine": ("OBJECT_DETECTION_ENGINE", Choice((AUTO, OPENVINO, MXNET))),
    "precision": ("OBJECT_DETECTION_PRECISION", Choice((AUTO, "int8", "bfloat16", "float32"))),
    "mean": ("OBJECT_DETECTION_MEAN", Colour()),
    "max_batch": ("OBJECT_DETECTION_MAX_BATCH", Whole(1, 64)),
    "max_delay_ms": ("OBJECT_DETECTION_MAX_DELAY_MS", Whole(0, 1000)),
    "max_waiting": ("OBJECT_DETECTION_MAX_WAITING", Whole(1, 1000)),
    "page": ("OBJECT_DETECTION_PAGE", Flag("1", "0")),
    "log_level": ("SAGEMAKER_CONTAINER_LOG_LEVEL", LogLevel()),
    "batch": ("SAGEMAKER_BATCH", Flag("true", "false")),
    "multi_model": ("SAGEMAKER_MULTI_MODEL", Flag("true", "false")),
}

_SYNONYMS = {"timeout": "SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS"}
_OTHERS = ("SAGEMAKER_BASE_DIR", "OBJECT_DETECTION_CPU_DEVICES", "OBJECT_DETECTION_WEIGHTS")
"""Variables that are read elsewhere in this package."""

_NEAR = 0.85
"""How much a variable of the platform's prefix must resemble one of ours to be taken for a typing
error; the platform sets many that are not read here."""


@dataclass(frozen=True)
class Settings:
    """Settings of an endpoint; docs/endpoint.md has what each variable means.

    timeout: seconds; in a batch transform as many as the platform waits for, unless it is given.
    max_payload_mb: SageMaker gives 0 for "no limit" in batch transform.
    threshold, max_batch: None: as suits the response format, the engine.
    mean: RGB that is subtracted from every pixel before the network sees it.
    log_level: on the scale of Python's logging.
    """

    host: str = "0.0.0.0"
    port: int = 8080
    workers: int = 1
    timeout: int = 60
    max_payload_mb: int = 25
    accept: str = formats.JSON
    response: str = "objects"
    threshold: float | None = None
    engine: str = AUTO
    precision: str = AUTO
    mean: tuple[float, float, float] = NO_MEAN
    max_batch: int | None = None
    max_delay_ms: int = 0
    max_waiting: int = 64
    page: bool = True
    log_level: int = logging.INFO
    batch: bool = False
    multi_model: bool = False

    @property
    def max_body_bytes(self) -> int | None:
        """The largest body in bytes, None for no limit."""
        return self.max_payload_mb * _MEGABYTE or None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the variables that are set and not empty.

        Raises ClientError with all faults, each naming variable, value and fix.
        """
        values: dict[str, object] = {}
        faults = []
        for field in fields(cls):
            variable, kind = _VARIABLES[field.name]
            text = environ.get(variable, "").strip()
            if not text and field.name in _SYNONYMS:
                text = environ.get(_SYNONYMS[field.name], "").strip()
                variable = _SYNONYMS[field.name] if text else variable
            if not text:
                continue
            try:
                values[field.name] = kind.parse(text)
            except ValueError as error:
                faults.append(
                    f"The environment variable {variable} is {text!r}, which {error}. Give "
                    f"{kind.description}, or unset it."
                )
        workers = values.get("workers", cls.workers)
        if values.get("multi_model") and workers != 1:
            faults.append(
                f"The environment variable SAGEMAKER_MODEL_SERVER_WORKERS is {workers}, and a "
                "multi-model endpoint (SAGEMAKER_MULTI_MODEL) has one worker, which knows all of "
                "its models. Unset it: each model has a process of its own."
            )
        if faults:
            raise ClientError(*faults)
        if values.get("batch"):
            values.setdefault("timeout", BATCH_TIMEOUT)
        return cls(**values)  # type: ignore[arg-type]


def warn_of_unknown(environ: Mapping[str, str]) -> None:
    """Log which variables look as if they were meant for the endpoint and are not read."""
    known = {variable for variable, _ in _VARIABLES.values()} | {*_SYNONYMS.values(), *_OTHERS}
    for prefix, cutoff in (("OBJECT_DETECTION_", 0.6), ("SAGEMAKER_", _NEAR)):
        ends = [name.removeprefix(prefix) for name in known if name.startswith(prefix)]
        for name in sorted(environ.keys() - known):
            if not name.startswith(prefix):
                continue
            near = get_close_matches(name.removeprefix(prefix), ends, 1, cutoff)
            if near:
                log.warning("%s is not read: did you mean %s%s?", name, prefix, near[0])
            elif prefix == "OBJECT_DETECTION_":
                log.warning("%s is not read: no variable has this name.", name)

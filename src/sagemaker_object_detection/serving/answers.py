"""What the endpoint answers to each error: HTTP status, and how to fix it."""

from __future__ import annotations

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.serving import formats, limits
from sagemaker_object_detection.serving.batching import (
    InsufficientMemory,
    ModelFailed,
    NotReady,
    Overloaded,
    TooSlow,
    UnusableModel,
)
from sagemaker_object_detection.serving.models import AlreadyLoaded, UnknownModel
from sagemaker_object_detection.serving.settings import Settings


class EmptyBody(ValueError):
    """A request without an image."""


class BrokenBody(ValueError):
    """A body that is not framed as HTTP has it."""


class UnsupportedContentType(ValueError):
    """A body that is declared to be something else than an image."""


_SEND_IMAGE = "Send the bytes of one JPEG, PNG, WebP or BMP image as the body."
_TRY_AGAIN = "Try again later, send fewer requests at a time, or use more or larger instances."

ANSWERS: dict[type[Exception], tuple[int, str]] = {
    ImageError: (400, _SEND_IMAGE),
    EmptyBody: (400, _SEND_IMAGE),
    BrokenBody: (400, _SEND_IMAGE),
    limits.BadAttribute: (
        400,
        f"Send {limits.HEADER} like 'threshold=0.4;top_k=20;classes=car,dog', or leave it out.",
    ),
    UnusableModel: (
        400,
        'Send {"model_name": "...", "url": "/opt/ml/models/.../model"}, the folder of an '
        "unpacked model.tar.gz of a training job with this algorithm, or of the service's own. The "
        "log of the endpoint may say more.",
    ),
    UnknownModel: (404, "GET /models lists what is loaded, POST /models loads."),
    formats.NotAcceptable: (406, f"Leave Accept out, or use one of: {formats.offered()}."),
    AlreadyLoaded: (409, "Use it, or DELETE it first."),
    UnsupportedContentType: (
        415,
        "Use image/*, application/x-image or application/octet-stream, or leave Content-Type out: "
        "what the bytes are decides.",
    ),
    ModelFailed: (
        500,
        "The log of the endpoint may say more. A process that ended is started again for the next "
        "request; if it ends again, unload the model.",
    ),
    Overloaded: (503, _TRY_AGAIN),
    TooSlow: (503, _TRY_AGAIN + " SAGEMAKER_MODEL_SERVER_TIMEOUT is the limit in seconds."),
    NotReady: (503, "Wait, or see the log of the endpoint."),
    InsufficientMemory: (
        507,
        "Unload other models, use fewer workers (SAGEMAKER_MODEL_SERVER_WORKERS) or a smaller "
        "OBJECT_DETECTION_MAX_BATCH, or an instance with more memory.",
    ),
}
"""Exception -> status and how to fix it; what went wrong is the exception's own text."""


def answer_to(error: Exception) -> tuple[int, str]:
    """Status and fix of an error that is in ANSWERS, or whose base is."""
    return next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)


def nginx_errors(settings: Settings) -> dict[int, tuple[str, str]]:
    """Status -> what is wrong and how to fix it, for what nginx refuses by itself."""
    return {
        400: (
            "the request is not valid HTTP/1.1",
            "Send POST /invocations by an HTTP library, or by curl --data-binary @image.jpg.",
        ),
        405: ("this method is not supported", "Use GET or POST; /models/{name} also has DELETE."),
        408: (
            "the request did not arrive in time",
            "Send the whole request at once: headers and as many bytes as Content-Length says.",
        ),
        413: too_large(settings),
        414: ("the path is longer than 32 KiB", "Send a shorter path and query."),
        431: ("the headers are larger than 32 KiB", "Send fewer or shorter headers."),
        500: ("the request could not be passed on", "The log of the endpoint may say more."),
        501: ("this Transfer-Encoding is not known", "Use Content-Length or chunked."),
        502: ("the process that runs the model does not answer", "Try again later."),
        503: ("too many requests are being sent at this moment", _TRY_AGAIN),
        504: ("the process that runs the model did not answer in time", "Try again later."),
        505: ("this version of HTTP is not known", "Use HTTP/1.1."),
    }


def too_large(settings: Settings) -> tuple[str, str]:
    """What is wrong with a body of more than the limit, and how to fix it."""
    return (
        f"the body is larger than {settings.max_payload_mb} MB",
        "Send a smaller image, or set SAGEMAKER_MAX_PAYLOAD_IN_MB on the endpoint (default 25).",
    )

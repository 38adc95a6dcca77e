"""The routes of the endpoint. Views raise; one table turns exceptions into answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import IO

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.serving import formats, limits
from sagemaker_object_detection.serving.batch_transform import execution_parameters
from sagemaker_object_detection.serving.batching import NotReady, Overloaded, TooSlow
from sagemaker_object_detection.serving.limits import Limits
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.model_engine import (
    InsufficientMemory,
    ModelFailed,
    UnusableModel,
)
from sagemaker_object_detection.serving.models import AlreadyLoaded, UnknownModel
from sagemaker_object_detection.serving.observation import current_trace, observe
from sagemaker_object_detection.serving.page.view import add_page
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.serving.traced import TracedPredictor

log = logging.getLogger(__name__)

CONTENT_TYPES = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/jpg",
        "application/x-image",
        "application/octet-stream",
        "application/x-www-form-urlencoded",  # what curl --data-binary says of any bytes
        "",
    }
)


class EmptyBody(ValueError):
    """A request without a picture."""


class UnsupportedContentType(ValueError):
    """A body that is declared to be something else than a picture."""


class BodyTooLarge(ValueError):
    """A body of more bytes than the settings allow."""


class BadModelsRequest(ValueError):
    """A body or a query that a multi-model endpoint cannot read."""


_SEND_IMAGE = "Send the bytes of one JPEG or PNG image as the body."
_TRY_AGAIN = "Try again later, send fewer requests at a time, or use more or larger instances."

ANSWERS: dict[type[Exception], tuple[int, str]] = {
    ImageError: (400, _SEND_IMAGE),
    EmptyBody: (400, _SEND_IMAGE),
    formats.NotAcceptable: (406, f"Leave Accept out, or use one of: {formats.offered()}."),
    limits.BadAttribute: (
        400,
        f"Send {limits.HEADER} like 'threshold=0.4;top_k=20;classes=car,dog', or leave it out.",
    ),
    BodyTooLarge: (
        413,
        "Send a smaller image, or set SAGEMAKER_MAX_PAYLOAD_IN_MB on the endpoint (default 25).",
    ),
    UnsupportedContentType: (
        415,
        "Use one of image/jpeg, image/png, application/x-image, application/octet-stream, or leave "
        "Content-Type out: what the bytes are decides.",
    ),
    BadModelsRequest: (
        400,
        'Send {"model_name": "...", "url": "/opt/ml/models/.../model"} to POST /models, and to '
        "GET /models the nextPageToken of the page before as next_page_token.",
    ),
    UnusableModel: (
        400,
        "Give the folder of an unpacked model.tar.gz of a training job with this algorithm, or of "
        "the service's own; the log of the endpoint may say more.",
    ),
    UnknownModel: (404, "GET /models lists what is loaded, POST /models loads."),
    AlreadyLoaded: (409, "Use it, or DELETE it first."),
    InsufficientMemory: (
        507,
        "Unload other models, or use an instance with more memory.",
    ),
    ModelFailed: (
        500,
        "The log of the endpoint may say more. A process that ended is started again for the next "
        "request; if it ends again, unload the model.",
    ),
    Overloaded: (503, _TRY_AGAIN),
    TooSlow: (503, _TRY_AGAIN + " SAGEMAKER_MODEL_SERVER_TIMEOUT is the limit in seconds."),
    NotReady: (503, "Wait, or see the log of the endpoint."),
}
"""Exception -> status and the way to mend it; what went wrong is the exception's own text."""

_ROUTES = "The endpoint has GET /ping, /metrics, /execution-parameters and POST /invocations."
_HTTP_FAULTS = {
    404: "there is nothing at this path",
    405: "the path is there, but not for this method",
}


def create_app(
    predictor: TracedPredictor,
    check_ready: Callable[[], object],
    settings: Settings,
    metrics: Metrics | None = None,
) -> Flask:
    """The WSGI application.

    check_ready: raises NotReady, with the reason, when /ping is to answer 503.
    metrics: what /metrics shows; those of the batcher under the predictor belong to the same.
    """
    app = bare_app(check_ready, settings, metrics or Metrics())

    @app.post("/invocations")
    def invocations() -> Response:
        return invoke(predictor, settings)

    if settings.page:
        add_page(app, predictor.class_names, formats.least_score("objects", settings.threshold))
    return app


def bare_app(
    check_ready: Callable[[], object], settings: Settings, metrics: Metrics, routes: str = _ROUTES
) -> Flask:
    """The application without a model: the routes around it, and the answers to errors.

    routes: a sentence that says which there are.
    """
    app = Flask(__name__, static_folder=None)
    observe(app, metrics)

    @app.get("/ping")
    def ping() -> Response:
        check_ready()
        return Response(status=200, mimetype=formats.JSON)

    @app.get("/execution-parameters")
    def parameters() -> Response:
        return jsonify(execution_parameters(settings))

    @app.after_request
    def echo_attributes(response: Response) -> Response:
        if limits.HEADER in request.headers:  # the platform passes on what the container sets
            response.headers[limits.HEADER] = request.headers[limits.HEADER]
        return response

    for kind in ANSWERS:
        app.register_error_handler(kind, _known)
    app.register_error_handler(HTTPException, partial(_http, routes=routes))
    app.register_error_handler(Exception, _unknown)
    return app


def invoke(predictor: TracedPredictor, settings: Settings) -> Response:
    """The answer to the current request, whose body is a picture."""
    trace = current_trace()
    answer = formats.choose(request.headers.get("Accept"), settings.response)
    wanted = Limits.parse(request.headers.get(limits.HEADER, ""), predictor.class_names)
    with trace.stage("receive"):
        data = _body(settings.max_body_bytes)
    trace.body_bytes = len(data)
    detections = predictor.predict_traced(data, "the body", trace)
    threshold = settings.threshold if wanted.threshold is None else wanted.threshold
    with trace.stage("encode"):
        found = wanted.apply(detections).above(formats.least_score(answer.form, threshold))
        body = answer.render(found, predictor.class_names)
    trace.detections = len(found)
    return Response(body, mimetype=answer.content_type)


def _body(most: int | None) -> bytes:
    """The body of a request whose Content-Type we take; case and parameters do not matter."""
    declared = request.headers.get("Content-Type", "")
    if declared.partition(";")[0].strip().lower() not in CONTENT_TYPES:
        raise UnsupportedContentType(f"the Content-Type {declared!r} is not supported")
    data = read_body(request.stream, most)
    if not data:
        raise EmptyBody("the body of the request is empty")
    return data


def read_body(stream: IO[bytes], most: int | None) -> bytes:
    """The whole stream; BufferingWorker has taken it in already, up to what it takes at all.

    Raises BodyTooLarge beyond `most` bytes. (Werkzeug's own limit cuts a chunked body off there
    and does not tell.)
    """
    data = stream.read()
    if most is not None and len(data) > most:
        raise BodyTooLarge(f"the body is larger than {most / 2**20:g} MB")
    return data


def _known(error: Exception) -> Response:
    status, hint = next(ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS)
    response = _error(status, str(error), hint)
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def _http(error: HTTPException, routes: str) -> Response:
    status = error.code or 500
    known = _HTTP_FAULTS.get(status)
    response = _error(
        status, known or error.description or error.name, routes if known is not None else ""
    )
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value  # Allow, above all
    return response


def _unknown(error: Exception) -> Response:
    log.error("A request failed.", exc_info=error)
    response = _error(
        500,
        f"{type(error).__name__} while the request was handled",
        "This is a fault of the program; the log of the endpoint has the traceback. Please "
        "report it.",
    )
    current_trace().error = f"{type(error).__name__}: {error}"
    return response


def _error(status: int, what: str, hint: str) -> Response:
    current_trace().error = what
    response = jsonify({"error": what, "hint": hint})
    response.status_code = status
    return response

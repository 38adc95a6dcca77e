"""The routes of the endpoint. Views raise; what that is answered with, `answers` says."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

from flask import Flask, Response, jsonify, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.platform.errors import first_line, lacks_memory
from sagemaker_object_detection.serving import formats, limits
from sagemaker_object_detection.serving.admission import TracedPredictor
from sagemaker_object_detection.serving.answers import (
    ANSWERS,
    BrokenBody,
    EmptyBody,
    UnsupportedContentType,
    answer_to,
    too_large,
)
from sagemaker_object_detection.serving.batching import InsufficientMemory
from sagemaker_object_detection.serving.limits import Limits
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.observe import current_trace, observe
from sagemaker_object_detection.serving.page.document import add_page
from sagemaker_object_detection.serving.settings import Settings

log = logging.getLogger(__name__)

CONTENT_TYPES = frozenset(
    {
        "application/x-image",
        "application/octet-stream",
        "binary/octet-stream",  # what S3 says of any file
        "application/x-www-form-urlencoded",  # what curl --data-binary says of any bytes
        "",
    }
)
"""Besides image/*."""

_ROUTES = "The endpoint has GET /ping, /metrics, /execution-parameters and POST /invocations."
_FIRST_BYTES = re.compile(r": it begins with b.*(?=;)")
"""What data checks say of a file that is no image; nothing of a body is in an answer or the log."""

_HTTP_FAULTS = {
    404: "there is nothing at this path",
    405: "the path is there, but not for this method",
}


def create_app(
    predictor: TracedPredictor,
    check_ready: Callable[[], object],
    settings: Settings,
    metrics: Metrics | None = None,
    facts: Callable[[], Mapping[str, str]] = dict,
) -> Flask:
    """The WSGI application.

    check_ready: raises NotReady, with the reason, when /ping is to answer 503.
    metrics: what /metrics shows; those of the batcher under the predictor belong to the same.
    facts: what the page shows of the model, name -> value; called once the model is loaded.
    """
    app = bare_app(check_ready, settings, metrics or Metrics())

    @app.post("/invocations")
    def invocations() -> Response:
        return invoke(predictor, settings)

    if settings.page:
        start = settings.threshold
        if start is None:
            start = round(median(predictor.thresholds), 2)
        add_page(app, predictor.class_names, start, facts)
    return app


def bare_app(
    check_ready: Callable[[], object], settings: Settings, metrics: Metrics, routes: str = _ROUTES
) -> Flask:
    """The application without a model: the routes around it, and the answers to errors.

    routes: a sentence that says which there are.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    observe(app, metrics)

    @app.get("/ping")
    def ping() -> Response:
        check_ready()
        return Response(status=200, mimetype=formats.JSON)

    @app.get("/execution-parameters")
    def parameters() -> Response:
        return jsonify(_execution_parameters(settings))

    @app.after_request
    def echo_attributes(response: Response) -> Response:
        if limits.HEADER in request.headers:  # the platform passes on what the container sets
            response.headers[limits.HEADER] = request.headers[limits.HEADER]
        return response

    for kind in ANSWERS:
        app.register_error_handler(kind, _known)
    app.register_error_handler(HTTPException, partial(_http, routes=routes))
    app.register_error_handler(413, lambda _: _error(413, *too_large(settings)))
    app.register_error_handler(Exception, _unknown)
    return app


def invoke(predictor: TracedPredictor, settings: Settings) -> Response:
    """The answer to the current request, whose body is an image."""
    trace = current_trace()
    answer = formats.choose(request.headers.get("Accept"), settings.response, settings.accept)
    wanted = Limits.parse(request.headers.get(limits.HEADER, ""), predictor.class_names)
    with trace.stage("receive"):
        data = _body()
    trace.body_bytes = len(data)
    detections = predictor.predict_traced(data, "the body", trace)
    threshold = settings.threshold if wanted.threshold is None else wanted.threshold
    with trace.stage("encode"):
        least = formats.least_score(answer.form, threshold, predictor.thresholds)
        found = wanted.apply(detections).above(least)
        body = answer.render(found, predictor.class_names)
    trace.detections = len(found)
    return Response(body, mimetype=answer.content_type)


def _execution_parameters(settings: Settings) -> dict[str, int]:
    """What a batch transform asks before it sends images (AWS: your-algorithms-batch-code).

    MaxConcurrentTransforms times MaxPayloadInMB may be 100 at most. BatchStrategy is left out: an
    image is a request under every strategy, and the SDK's local mode breaks on the documented
    names.
    """
    largest = min(settings.max_payload_mb or Settings.max_payload_mb, 100)
    return {"MaxConcurrentTransforms": min(8, 100 // largest), "MaxPayloadInMB": largest}


def _body() -> bytes:
    """The body of a request whose Content-Type we take; case and parameters do not matter."""
    declared = request.headers.get("Content-Type", "")
    kind = declared.partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES and not kind.startswith("image/"):
        raise UnsupportedContentType(f"the Content-Type {declared!r} is not supported")
    try:
        data = request.stream.read()
    except ParseException:  # its text quotes the body
        raise BrokenBody("the chunks of the body are malformed") from None
    if not data:
        raise EmptyBody("the body of the request is empty")
    return data


def _known(error: Exception) -> Response:
    status, hint = answer_to(error)
    what = _FIRST_BYTES.sub("", str(error)) if isinstance(error, ImageError) else str(error)
    response = _error(status, what, hint)
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
    if lacks_memory(error):
        return _known(InsufficientMemory(f"memory was short ({first_line(error)})"))
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

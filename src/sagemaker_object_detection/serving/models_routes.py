"""The routes of a multi-model endpoint (AWS: mms-container-apis).

A model's name is whatever the platform makes up: it is a key of a table and nothing else.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, jsonify, request
from werkzeug.routing import BaseConverter

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.inside import require_inside
from sagemaker_object_detection.platform.paths import DEFAULT_BASE_DIR, Paths
from sagemaker_object_detection.serving.answers import BadModelsRequest
from sagemaker_object_detection.serving.app import bare_app, invoke
from sagemaker_object_detection.serving.batching import UnusableModel
from sagemaker_object_detection.serving.engines import choose
from sagemaker_object_detection.serving.metrics import INVOKE, Metrics
from sagemaker_object_detection.serving.models import Model, Models
from sagemaker_object_detection.serving.settings import MXNET, Settings

_LARGEST_BODY = 2**16
_LONGEST_NAME = 1024
_MEGABYTE = 2**20
_TWINS = frozenset({artifact.ONNX_FILE, artifact.INT8_FILE})
_WEIGHTS = ".params"
_ROUTES = (
    "A multi-model endpoint has GET /ping, /metrics and /models, POST /models, GET and DELETE "
    "/models/{name} and POST /models/{name}/invoke."
)


class _Name(BaseConverter):
    """A model's name in a path: percent-decoded, so with any character, / among them."""

    regex = ".+"
    part_isolating = False


def create_models_app(
    models: Models,
    paths: Paths,
    settings: Settings,
    metrics: Metrics,
    check_ready: Callable[[], object] = lambda: None,
) -> Flask:
    """The WSGI application of an endpoint with many models; it is healthy without any."""
    engine, _ = choose(settings)
    app = bare_app(check_ready, settings, metrics, _ROUTES)
    app.url_map.converters["model"] = _Name
    app.url_map.merge_slashes = False

    @app.post("/models")
    def load() -> Response:
        name, url = _wanted()
        folder = model_folder(url, paths)
        models.load(name, url, folder, memory_need(folder, engine))
        return jsonify(_told(name, url))

    @app.get("/models")
    def page() -> Response:
        found, more = models.page(_name_before(request.args.get("next_page_token")))
        answer: dict[str, object] = {"models": [_told(one.name, one.url) for one in found]}
        if more:
            answer["nextPageToken"] = _token(found[-1])
        return jsonify(answer)

    @app.get("/models/<model:name>")
    def describe(name: str) -> Response:
        model = models.find(name)
        return jsonify(_told(model.name, model.url))

    @app.delete("/models/<model:name>")
    def unload(name: str) -> Response:
        models.unload(name)
        return jsonify({})

    @app.post(INVOKE)
    def invocations(name: str) -> Response:
        with models.use(name) as predictor:
            return invoke(predictor, settings)

    return app


def _wanted() -> tuple[str, str]:
    """Name and url of a request to load a model. Raises BadModelsRequest."""
    data = request.stream.read()
    if len(data) > _LARGEST_BODY:
        raise BadModelsRequest(f"the body is larger than {_LARGEST_BODY} bytes")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadModelsRequest(f"the body is not JSON ({type(error).__name__})") from None
    if not isinstance(body, dict):
        raise BadModelsRequest("the body is not an object")
    for key in ("model_name", "url"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise BadModelsRequest(f"{key} is missing, empty or no text")
    name, url = body["model_name"], body["url"]
    if not name.isprintable() or len(name) > _LONGEST_NAME:
        raise BadModelsRequest(
            f"model_name is longer than {_LONGEST_NAME} characters, or cannot be printed"
        )
    return name, url


def _told(name: str, url: str) -> dict[str, str]:
    return {"modelName": name, "modelUrl": url}


def _token(last: Model) -> str:
    """What the client gives back to have the models behind this one."""
    return base64.urlsafe_b64encode(last.name.encode()).decode()


def _name_before(token: str | None) -> str | None:
    if not token:
        return None
    try:
        return base64.b64decode(token, b"-_", validate=True).decode()
    except ValueError:
        raise BadModelsRequest("next_page_token is none that this endpoint has given") from None


def model_folder(url: str, paths: Paths) -> Path:
    """The folder that a url means, with all links on the way followed.

    url: a path below /opt/ml/models, which is looked for in the tree of `paths`.
    Raises UnusableModel when it is outside, missing or no folder, or holds a link to outside of
    itself or something that is neither file nor folder: of a model, nothing else is ever read.
    """
    inside = Path(DEFAULT_BASE_DIR) / paths.models_dir.name
    try:
        root = Path(os.path.realpath(paths.models_dir))
        folder = Path(os.path.realpath(paths.moved(Path(url))))
        if not Path(url).is_absolute() or root not in folder.parents:
            raise UnusableModel(f"the url {url!r} is not below {inside}")
        if not folder.is_dir():
            raise UnusableModel(f"the url {url!r} is no folder, or is missing")
        require_inside(folder)
    except ArtifactError as error:
        raise UnusableModel(str(error)) from error
    except (OSError, ValueError) as error:
        if isinstance(error, UnusableModel):
            raise
        raise UnusableModel(f"the url {url!r} cannot be read ({error})") from error
    return folder


def memory_need(folder: Path, engine: str) -> int:
    """Bytes that loading an artifact may take at its height, from the sizes of its files.

    engine: openvino or mxnet.

    docs/decisions.md has the measurements. What MXNet does to make a missing twin takes more than
    the model does afterwards.
    """
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    twin = max((size for name, size in sizes.items() if name in _TWINS), default=0)
    weights = max((size for name, size in sizes.items() if name.endswith(_WEIGHTS)), default=0)
    if engine == MXNET:
        return 300 * _MEGABYTE + 4 * weights
    if twin:
        return 120 * _MEGABYTE + 3 * twin
    return 350 * _MEGABYTE + 8 * weights

"""The routes of a multi-model endpoint (AWS: mms-container-apis).

A model's name is whatever the platform makes up: it is a key of a table and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from flask import Flask, Response, jsonify, request
from werkzeug.routing import BaseConverter

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.inside import require_inside
from sagemaker_object_detection.platform.paths import DEFAULT_BASE_DIR, Paths
from sagemaker_object_detection.serving.app import bare_app, invoke
from sagemaker_object_detection.serving.batching import UnusableModel
from sagemaker_object_detection.serving.engines import choose
from sagemaker_object_detection.serving.metrics import INVOKE, Metrics
from sagemaker_object_detection.serving.models import Models, UnknownModel
from sagemaker_object_detection.serving.settings import MXNET, Settings

_PAGE = 100
_LONGEST_NAME = 1024
_MEGABYTE = 2**20
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
        """Up to 100 models by name. The token of the next page is the last name on this one: a
        model that is loaded all the time is on one page, whatever is loaded or unloaded."""
        last = request.args.get("next_page_token", "")
        behind = ((name, url) for name, url in models.urls().items() if name > last)
        found = [_told(name, url) for name, url in islice(behind, _PAGE)]
        more = next(behind, None) is not None
        return jsonify(
            {"models": found} | ({"nextPageToken": found[-1]["modelName"]} if more else {})
        )

    @app.get("/models/<model:name>")
    def describe(name: str) -> Response:
        url = models.urls().get(name)
        if url is None:
            raise UnknownModel(name)
        return jsonify(_told(name, url))

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
    """Name and url of a request to load a model. Raises UnusableModel."""
    try:
        body = json.loads(request.stream.read())
        name, url = body["model_name"], body["url"]
    except (ValueError, RecursionError, TypeError, LookupError) as error:
        raise UnusableModel(
            f"the body is not a JSON object with model_name and url ({type(error).__name__})"
        ) from None
    if not isinstance(name, str) or not isinstance(url, str):
        raise UnusableModel("model_name or url is not a text")
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise UnusableModel(f"model_name is not 1 to {_LONGEST_NAME} printable characters")
    return name, url


def _told(name: str, url: str) -> dict[str, str]:
    return {"modelName": name, "modelUrl": url}


def model_folder(url: str, paths: Paths) -> Path:
    """The folder that a url means, with all links on the way followed.

    url: a path below /opt/ml/models, which is looked for in the tree of `paths`.
    Raises UnusableModel when it is outside, missing or no folder, or holds a link to outside of
    itself or something that is neither file nor folder: of a model, nothing else is ever read.
    """
    try:
        root = Path(os.path.realpath(paths.models_dir))
        folder = Path(os.path.realpath(paths.moved(Path(url))))
        if not Path(url).is_absolute() or root not in folder.parents:
            raise ArtifactError(f"it is not below {DEFAULT_BASE_DIR}/{paths.models_dir.name}")
        if not folder.is_dir():
            raise ArtifactError("it is no folder, or is missing")
        require_inside(folder)
    except (OSError, ValueError) as error:  # ArtifactError is a ValueError
        raise UnusableModel(f"the url {url!r} cannot be used: {error}") from error
    return folder


def memory_need(folder: Path, engine: str) -> int:
    """Bytes that loading an artifact may take at its height, from the sizes of its files.

    docs/decisions.md has the measurements. Converting a model to ONNX takes more than the model
    does afterwards.

    engine: openvino or mxnet.
    """
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    onnx = max(sizes.get(name, 0) for name in (artifact.ONNX_FILE, artifact.INT8_FILE))
    params = max((size for name, size in sizes.items() if name.endswith(".params")), default=0)
    if engine == MXNET:
        return 300 * _MEGABYTE + 4 * params
    if onnx:
        return 120 * _MEGABYTE + 3 * onnx
    return 350 * _MEGABYTE + 8 * params

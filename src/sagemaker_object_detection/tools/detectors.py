"""Objects in one image, by an endpoint or by a model in this process."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.inference.predictor import Predictor
from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from sagemaker_object_detection.serving.batching import Batcher
from sagemaker_object_detection.serving.formats import objects
from sagemaker_object_detection.serving.limits import HEADER
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.tools.models import open_model

TIMEOUT = (10.0, 180.0)
"""Seconds to connect, and to answer."""
BUSY = (408, 429, 502, 503, 504)
REPETITIONS = 7
"""Of a request to an endpoint that is busy; the pauses add up to a minute."""
PARALLEL = 8
"""Requests at a time."""


class Prediction(msgspec.Struct, frozen=True):
    """One detection as an endpoint answers it. bbox: xyxy in pixels. score: 0..1."""

    class_id: int
    class_name: str
    score: float
    bbox: tuple[float, float, float, float]


class ImageFailed(PlatformError):
    """The endpoint failed on one image; it may succeed on others."""


OF_ONE_IMAGE = (ImageError, ImageFailed)
Detect = Callable[[bytes, str], Sequence[Prediction]]
"""Encoded image, its name for errors -> predictions; safe for threads.

Raises OF_ONE_IMAGE, or another JobError when no further image would fare better.
"""


@contextmanager
def endpoint_detector(url: str, threshold: float | None) -> Iterator[tuple[Detect, int]]:
    """Predictions of the endpoint at http://host:port, and how many images to send at a time.

    Raises ClientError for an invalid URL, PlatformError when nothing answers there.
    """
    url = url.rstrip("/").removesuffix("/invocations")
    shown = re.sub("//[^/]*@", "//", url)  # without a password
    retry = Retry(REPETITIONS, connect=2, read=1, status_forcelist=BUSY, allowed_methods=None)
    retry = retry.new(backoff_factor=0.5, retry_after_max=30, raise_on_status=False)
    session = requests.Session()
    session.trust_env = not re.match(r"https?://(localhost|127\.)", shown)  # proxies, .netrc
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=PARALLEL, max_retries=retry))
    session.headers["Accept"] = "application/json;format=objects"
    session.headers["Content-Type"] = "application/x-image"
    if threshold is not None:
        session.headers[HEADER] = f"threshold={threshold!r}"

    def ask(method: str, path: str, data: bytes | None = None) -> requests.Response:
        try:
            return session.request(
                method, url + path, data=data, timeout=TIMEOUT, allow_redirects=False
            )
        except ValueError as error:  # of these kinds are requests' errors for invalid URLs
            raise ClientError(f"--url {shown!r} is invalid. Give http://host:port.") from error
        except requests.RequestException as error:
            raise PlatformError(
                f"{shown} cannot be reached ({_cause(error)}). Start it, or correct --url."
            ) from error

    def detect(data: bytes, name: str) -> Sequence[Prediction]:
        response = ask("POST", "/invocations", data)
        answered = f"{shown} answered {response.status_code}: {_text(response)}."
        if response.status_code in (400, 413):
            raise ImageError(f"{name}: {answered}")
        if response.status_code == 500:
            raise ImageFailed(f"{name}: {answered}")
        if response.status_code in BUSY:
            raise PlatformError(f"{answered} Try again later, or use more or larger instances.")
        try:
            if response.status_code == 200:
                answer = msgspec.json.decode(response.content, type=dict[str, list[Prediction]])
                return answer["predictions"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
            answered = f"{shown} did not answer with detections ({error})."
        raise ClientError(f"{answered} Give the address of an endpoint of this container as --url.")

    with session:
        ask("GET", "/ping")
        yield detect, PARALLEL


def _text(response: requests.Response) -> str:
    """The error that a body tells, or how it begins."""
    with suppress(ValueError, TypeError, KeyError):
        told = response.json()
        return f"{told['error']}. {told.get('hint', '')}".rstrip(". ")
    return response.text[:300].strip().rstrip(".")


def _cause(error: BaseException) -> str:
    """What the system says, below the layers of requests and urllib3."""
    while error.__context__:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def model_detector(
    path: Path, class_names: Sequence[str], threshold: float | None
) -> Iterator[tuple[Detect, int]]:
    """Predictions of the model in a folder or archive, and how many images to give at a time.

    Raises ClientError: the model or the environment cannot be used, or has no such class.
    """
    with open_model(path, Settings.from_environment(os.environ)) as model:
        known = model.config.class_names
        if unknown := [repr(name) for name in class_names if name not in known]:
            raise ClientError(
                f"The model has no class {', '.join(unknown)}. Its classes: {', '.join(known)}."
            )
        parallel = 2 * model.batch  # one half is decoded or drawn while the other is computed
        batcher = Batcher(model.load, parallel, patience=threading.TIMEOUT_MAX)
        predictor = Predictor(batcher, known, model.config.thresholds)
        least = predictor.thresholds if threshold is None else threshold

        def detect(data: bytes, name: str) -> Sequence[Prediction]:
            answer = objects(predictor.predict(data, name).above(least), known)
            return msgspec.convert(answer["predictions"], list[Prediction])

        batcher.start()
        try:
            batcher.wait_loaded()
            yield detect, parallel
        finally:
            batcher.close()

"""An endpoint; a browser and the page of an endpoint in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devtools import Browser
from tests.functional.endpoint_process import Endpoint, running
from tests.functional.shown_page import ShownPage
from tests.tiny_model import write


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """With no settings; modules that need some have one of their own."""
    base: Path = tmp_path_factory.mktemp("ml")
    write(base / "model")
    with running(base) as endpoint:
        endpoint.wait_ready()
        yield endpoint


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page_endpoint(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """It takes bodies of up to 1 MB, and its scores are the same on any processor."""
    base: Path = tmp_path_factory.mktemp("ml")
    write(base / "model")
    environ = {"SAGEMAKER_MAX_PAYLOAD_IN_MB": "1", "OBJECT_DETECTION_PRECISION": "float32"}
    with running(base, **environ) as endpoint:
        endpoint.wait_ready()
        yield endpoint


@pytest.fixture
def page(browser: Browser, page_endpoint: Endpoint) -> ShownPage:
    return ShownPage(browser, page_endpoint)

"""A browser, an endpoint and its page in it, for tests of the page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devtools import Browser
from tests.functional.shown_page import ShownPage
from tests.functional.test_serve import Endpoint, running
from tests.tiny_model import write


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

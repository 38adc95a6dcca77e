"""MXNet for cards is told apart, and what it lacks is told."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from sagemaker_object_detection.platform import driver
from sagemaker_object_detection.platform.errors import PlatformError


@pytest.fixture(params=driver.FOR_CARDS)
def for_cards(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed MXNet for cards, as far as its metadata goes."""
    metadata = tmp_path / f"{request.param.replace('-', '_')}-1.9.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {request.param}\nVersion: 1.9.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.metadata.version(request.param) == "1.9.1"


def test_mxnet_for_processors_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "DRIVER", "libnowhere.so.1")
    driver.require_driver()


@pytest.mark.usefixtures("for_cards")
def test_mxnet_for_cards_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "DRIVER", "libnowhere.so.1")
    with pytest.raises(PlatformError, match=r"no driver of one \(libnowhere\.so\.1\).*--gpus all"):
        driver.require_driver()


@pytest.mark.usefixtures("for_cards")
def test_a_driver_that_loads_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "DRIVER", "libc.so.6")
    driver.require_driver()

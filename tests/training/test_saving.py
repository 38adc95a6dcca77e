"""What an artefact says of the libraries that made it."""

from __future__ import annotations

import importlib.metadata

import pytest

from sagemaker_object_detection.training.epochs import versions


def test_versions_where_the_wheel_of_mxnet_has_another_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the image for cards, where it is mxnet-cu112."""
    read = importlib.metadata.version

    def renamed(name: str) -> str:
        if name == "mxnet":
            raise importlib.metadata.PackageNotFoundError(name)
        return read(name)

    monkeypatch.setattr(importlib.metadata, "version", renamed)
    found = versions()
    assert found["mxnet"] == "1.9.1"
    assert set(found) == {"mxnet", "gluoncv", "numpy", "opencv-python-headless", "openvino"}

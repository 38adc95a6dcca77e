"""NVIDIA's driver, which MXNet for cards cannot be loaded without."""

from __future__ import annotations

import ctypes
import importlib.metadata

from sagemaker_object_detection.platform.errors import PlatformError

FOR_CARDS = ("mxnet-cu112", "mxnet-cu102")
"""The wheels of MXNet in the images for cards."""

DRIVER = "libcuda.so.1"
"""What the container runtime brings from the host."""


def require_driver() -> None:
    """Raises PlatformError where MXNet is the one for cards and there is no driver."""
    if not any(map(_is_installed, FOR_CARDS)):
        return
    try:
        ctypes.CDLL(DRIVER)
    except OSError as error:
        raise PlatformError(
            "This image is for NVIDIA's cards, and the container has no driver of one "
            f"({DRIVER}). Run it on a machine with a card, by `docker run --gpus all`, or take the "
            "image for processors."
        ) from error


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

"""Object detection for Amazon SageMaker: SSD under MXNet, as a container and on a laptop.

`load` and `train` are the Python API, see docs/python.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagemaker_object_detection.api import Detections, Detector, load, train
    from sagemaker_object_detection.platform.errors import JobError

__version__ = "0.1.0"
__all__ = ["Detections", "Detector", "JobError", "load", "train"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the names above, imported when they are used
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = "platform.errors" if name == "JobError" else "api"
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""Models for commands: a folder or a model.tar.gz, of this container or of the service."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sagemaker_object_detection.model.archive import opened_model
from sagemaker_object_detection.model.artifact import ModelConfig
from sagemaker_object_detection.platform.threads import physical_cores, set_threads
from sagemaker_object_detection.serving.batching import BatchEngine
from sagemaker_object_detection.serving.engines import GPU_BATCH, load_engine, make_plan
from sagemaker_object_detection.serving.settings import OPENVINO, Settings


@dataclass(frozen=True)
class Model:
    """An opened model.

    load: makes the engine, in the thread that is to use it. Raises ClientError.
    batch: images that it computes at a time.
    """

    config: ModelConfig
    load: Callable[[], BatchEngine]
    batch: int


@contextmanager
def open_model(path: Path, settings: Settings, image_shape: int | None = None) -> Iterator[Model]:
    """The model in a folder or an archive, on the engine that an endpoint would choose.

    Args:
        image_shape: of a model of the service whose files do not state it.

    Raises:
        ClientError: the model cannot be used, or not as the settings ask.
    """
    with opened_model(path) as folder:
        if "mxnet" not in sys.modules:  # it reads the environment when it is loaded
            set_threads(os.environ)
        os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
        plan = make_plan(folder, settings, os.environ, image_shape)
        cores = physical_cores()
        batch = settings.max_batch or (cores if plan.engine == OPENVINO else GPU_BATCH)
        if plan.engine == OPENVINO:
            settings = replace(settings, max_batch=batch)
        yield Model(plan.config, lambda: load_engine(plan, settings, cores), batch)

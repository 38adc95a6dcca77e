"""Artefacts of the service, made once for all tests of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import service_artifact
from tests.service_network import Service

SERVICES = {
    "resnet-50": Service("resnet-50", 2, 300, width=1 / 16),
    "resnet-50 deploy": Service("resnet-50", 2, 300, width=1 / 16, deploy=True),
    "vgg-16 at 300": Service("vgg-16", 3, 300, width=1 / 16),
    "vgg-16 at 512 deploy": Service("vgg-16", 3, 512, width=1 / 16, deploy=True),
}


@pytest.fixture(scope="session")
def service_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name in SERVICES -> folder with its files, which nobody may change."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = service_artifact.write(tmp_path_factory.mktemp("service"), SERVICES[name])
        return made[name]

    return folder

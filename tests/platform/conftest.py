"""Real trees of /opt/ml in a temporary folder."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.paths import Paths

HEADS = {".rec": b"\x0a\x23\xd7\xce\x00\x00\x00\x00", ".jpg": b"\xff\xd8\xff\xe0rest"}


class Tree:
    """Writes a job's input below `base`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.paths = Paths(base)
        self.environ = {"SAGEMAKER_BASE_DIR": str(base)}

    def config(self, name: str, content: object) -> None:
        """Write a configuration file: text as it is, anything else as JSON."""
        self.paths.config_dir.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (self.paths.config_dir / name).write_text(text, encoding="utf-8")

    def channel(self, name: str, files: Iterable[str] = ()) -> None:
        """Make a channel's folder with files whose first bytes fit their suffix."""
        folder = self.paths.channel_dir(name)
        folder.mkdir(parents=True)
        for file in files:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(HEADS.get(path.suffix.lower(), b"{}"))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)

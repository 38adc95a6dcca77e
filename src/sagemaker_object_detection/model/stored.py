"""Graphs and arrays as MXNet stores them: `*-symbol.json` and `*.params`.

Neither file can hold code: both are read by MXNet's own parsers, and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mxnet as mx

from sagemaker_object_detection.model.artifact import CURE, ArtifactError
from sagemaker_object_detection.platform.errors import first_line


@dataclass(frozen=True)
class Arrays:
    """The values of a graph by name: of its arguments, and of its auxiliary states."""

    args: Mapping[str, mx.nd.NDArray]
    auxs: Mapping[str, mx.nd.NDArray]

    @property
    def by_name(self) -> dict[str, mx.nd.NDArray]:
        """Both kinds; no name is in both."""
        return {**self.args, **self.auxs}


def load_symbol(path: Path) -> mx.sym.Symbol:
    """Raises ArtifactError when the file is no graph of MXNet."""
    return _load(mx.sym.load, path, "a graph of MXNet")


def load_arrays(path: Path) -> Arrays:
    """Raises ArtifactError when the file holds no arrays named arg:NAME or aux:NAME."""
    stored = _load(mx.nd.load, path, "a parameter file of MXNet")
    if not isinstance(stored, dict):
        raise ArtifactError(f"{path} holds arrays without names; {CURE}")
    groups: dict[str, dict[str, mx.nd.NDArray]] = {"arg": {}, "aux": {}}
    for key, array in stored.items():
        kind, _, name = key.partition(":")
        if kind not in groups:
            raise ArtifactError(
                f"{path} holds {key!r}, expected keys arg:NAME and aux:NAME; {CURE}"
            )
        groups[kind][name] = array
    return Arrays(groups["arg"], groups["aux"])


def _load(load: Callable[[str], Any], path: Path, what: str) -> Any:
    try:
        return load(str(path))
    except (mx.MXNetError, UnicodeDecodeError) as error:  # the latter: garbage in its message
        raise ArtifactError(
            f"{path} is not {what} or is damaged ({first_line(error)}); {CURE}"
        ) from error

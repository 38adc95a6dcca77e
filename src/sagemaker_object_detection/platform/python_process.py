"""Processes of this package that another of its processes starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PACKAGE_ROOT = Path(__file__).parents[2]


def with_package(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which `python -m` finds this package, wherever it lies."""
    paths = [str(_PACKAGE_ROOT), environ.get("PYTHONPATH")]
    return {**environ, "PYTHONPATH": ":".join(filter(None, paths))}


def last_words(output: str) -> str:
    """The last line of what a process has written."""
    return (output.strip().splitlines() or ["no word"])[-1]

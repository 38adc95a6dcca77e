"""What the library logs, shown while a command runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

from sagemaker_object_detection.tools.report_text import printable


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _BesideBars(logging.StreamHandler[TextIO]):
    """Lines above a progress bar, which would else run through them."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=self.stream)
        self.flush()


@contextmanager
def logged() -> Iterator[None]:
    """Show on stderr what is logged: which forms the gate found, and how far the work is."""
    root = logging.getLogger()
    handler = _BesideBars(sys.stderr)
    handler.setFormatter(_Printable())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)

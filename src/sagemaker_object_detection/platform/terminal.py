"""What a terminal shows in place of the log: short lines, a bar, a row for each epoch."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)

_FOR_MACHINES = (
    *("#", "Merging with provided configuration", "Final configuration", "Epoch: ", "Update["),
    *("Updating the best model", "Saved checkpoint"),
)
"""How lines begin that tuning jobs and CloudWatch read; a person has the bar and the rows."""
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "bold red", logging.CRITICAL: "bold red"}
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_EPOCH = "{:>7}  {:>10}  {:>8}  {:>6}  {:<28}  {:>8}  {:>7}"


def is_shown() -> bool:
    """Whether the standard output is a terminal."""
    return sys.stdout.isatty()


def printable(text: str) -> str:
    """A text that any terminal can show: what is no character, or steers it, as an escape."""
    shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


class Handler(logging.Handler):
    """Shows what is logged for a person, above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """One record; lines for machines are left out."""
        text = self.format(record)
        if not text.startswith(_FOR_MACHINES):
            console.print(Text(printable(text), _STYLES.get(record.levelno, "")))


class Bar:
    """How far work is, in one line at the foot of the terminal; nothing elsewhere.

    Args:
        what: is being done.
        total: steps in all; None where it is not known.
    """

    def __init__(self, what: str, total: int | None, unit: str = "images") -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        self.is_shown = is_shown()
        self._bars = RichProgress(
            *columns, console=console, transient=True, disable=not self.is_shown
        )
        self._task = self._bars.add_task(what, total=total, figures="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def advance(self, steps: int, figures: str = "") -> None:
        """So many more steps are done; `figures` stand at the end of the line."""
        self._bars.update(self._task, advance=steps, figures=figures)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def show_epoch(
    epoch: tuple[int, int],
    losses: Sequence[float],
    score: float,
    per_class: Mapping[str, float],
    figures: tuple[float, float],
    is_best: bool,
    with_heading: bool,
) -> None:
    """A row of the table of epochs, on a terminal.

    Args:
        epoch: its number from 1, and how many there are.
        losses: of the classes and of the boxes.
        per_class: average precision of each class that occurs.
        figures: images a second in training, and seconds of the whole epoch.
    """
    if with_heading:
        names = ("epoch", "class loss", "box loss", "mAP", "worst class", "images/s", "time")
        console.print(Text(_EPOCH.format(*names), "bold"))
    worst = min(per_class, key=lambda name: per_class[name], default=None)
    told = "" if worst is None else f"{printable(worst)[:20]} {per_class[worst]:.3f}"
    row = _EPOCH.format(
        f"{epoch[0]}/{epoch[1]}",
        *(f"{loss:.3f}" for loss in losses),
        f"{score:.3f}",
        told,
        f"{figures[0]:.1f}",
        time.strftime("%M:%S" if figures[1] < 3600 else "%H:%M:%S", time.gmtime(figures[1])),
    )
    console.print(Text(row + ("  best" if is_best else ""), "green" if is_best else ""))

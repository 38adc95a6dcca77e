"""The gate: every record passes it once, before any training.

What makes the labels doubtful is refused, all offenders in one error. What is merely unusable is
dropped, counted and reported, up to a limit; boxes that overhang the image are clipped. Nothing is
copied: what passes is a list of the source's records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from sagemaker_object_detection.data.dataset import Dataset, Source
from sagemaker_object_detection.data.judge import Verdict, judge
from sagemaker_object_detection.data.tally import Limits, Tally
from sagemaker_object_detection.platform.progress import Progress

_RECORDS_A_TASK = 16
_TASKS_AHEAD = 4


def pass_gate(
    channel: str,
    source: Source,
    num_classes: int,
    threads: int,
    limits: Limits | None = None,
) -> tuple[Dataset, Tally]:
    """Check every record of a channel, in parallel.

    Args:
        channel: its name, for messages.
        num_classes: class ids must be in 0..num_classes-1.
        limits: shares of images and boxes that may be dropped.

    Raises:
        ClientError: an unreadable label, a class_id out of range, more images or boxes unusable
            than the limits allow, or no usable image at all.
    """
    tally = survey(channel, source, num_classes, threads, limits)
    tally.refuse()
    return passed(source, tally), tally


def survey(
    channel: str,
    source: Source,
    num_classes: int,
    threads: int,
    limits: Limits | None = None,
    turn_boxes: bool = False,
) -> Tally:
    """What the records of a channel add up to, whatever is wrong with them.

    `turn_boxes` is that of `judge`.
    """
    tally = Tally(channel, num_classes, limits)
    with Progress(f"Channel '{channel}' is being checked", len(source)) as progress:
        for verdicts in _verdicts(source, num_classes, threads, turn_boxes):
            for verdict in verdicts:
                tally.add(verdict)
            progress.advance(len(verdicts))
    tally.add_unannotated(source.unannotated)
    return tally


def passed(source: Source, tally: Tally) -> Dataset:
    """The records of a source that its tally lets pass."""
    return Dataset(
        source=source,
        indices=tally.indices,
        offsets=tally.offsets,
        boxes=tally.boxes,
        class_ids=tally.class_ids,
        difficult=tally.difficult,
    )


def _verdicts(
    source: Source, num_classes: int, threads: int, turn_boxes: bool
) -> Iterator[list[Verdict]]:
    """Verdicts in the order of the records; only a few tasks wait at a time."""

    def task(start: int) -> list[Verdict]:
        stop = min(start + _RECORDS_A_TASK, len(source))
        return [
            judge(source.name(index), partial(source.read, index), num_classes, False, turn_boxes)
            for index in range(start, stop)
        ]

    pool = ThreadPoolExecutor(threads, thread_name_prefix="gate")
    waiting: deque[Future[list[Verdict]]] = deque()
    try:
        for start in range(0, len(source), _RECORDS_A_TASK):
            waiting.append(pool.submit(task, start))
            if len(waiting) > _TASKS_AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # a signal ends the process at once and not after all records
        pool.shutdown(cancel_futures=True)

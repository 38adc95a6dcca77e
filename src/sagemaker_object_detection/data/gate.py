"""The gate: every record passes it once, before any training.

What makes the labels doubtful is refused, all offenders in one error. What is merely unusable is
dropped, counted and reported, up to a limit; boxes that overhang the image are clipped.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import clip, from_px, is_degenerate
from sagemaker_object_detection.data.dataset import Dataset, RawRecord, Source
from sagemaker_object_detection.data.sources import refusal
from sagemaker_object_detection.images import ImageError, decode, is_truncated_jpeg
from sagemaker_object_detection.platform.errors import ClientError

log = logging.getLogger(__name__)

MAX_DROPPED_SHARE = 0.1
_SHOWN_DROPS = 10
_OVERHANG = 1e-6
_BOX_REASONS = frozenset({"zero_area", "outside"})


@dataclass(frozen=True)
class Dropped:
    """A record or a box that was left out."""

    record: str
    reason: str
    detail: str


@dataclass
class ChannelReport:
    """What the gate saw in one channel; `images` and `boxes` are those that passed."""

    images: int = 0
    boxes: int = 0
    boxes_per_class: dict[str, int] = field(default_factory=dict)
    images_without_boxes: int = 0
    boxes_clipped: int = 0
    label_width: int = 2
    dropped: list[Dropped] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


@dataclass
class _Verdict:
    """What one record gives: labels when it passes, drops, and the fault that refuses it."""

    boxes: NDArray[Any] | None = None
    class_ids: NDArray[Any] | None = None
    difficult: NDArray[Any] | None = None
    declared_boxes: int = 0
    clipped: int = 0
    dropped: list[Dropped] = field(default_factory=list)
    image_dropped: bool = False
    fault: str | None = None

    @property
    def boxes_kept(self) -> int:
        return 0 if self.boxes is None else len(self.boxes)


def pass_gate(
    channel: str,
    source: Source,
    num_classes: int,
    threads: int,
    unannotated: Sequence[str] = (),
) -> tuple[Dataset, ChannelReport]:
    """Check every record of a channel, in parallel.

    Args:
        channel: its name, for messages.
        num_classes: class ids must be in 0..num_classes-1.
        unannotated: images the source has left out already.

    Raises:
        ClientError: an unreadable label, a class_id out of range, more than a tenth of the images
            or boxes unusable, or no usable image at all.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="gate")
    try:
        verdicts = list(pool.map(lambda i: _judge(source, i, num_classes), range(len(source))))
    finally:  # a signal ends the process at once and not after all records
        pool.shutdown(cancel_futures=True)
    faults = [verdict.fault for verdict in verdicts if verdict.fault is not None]
    if faults:
        raise refusal(f"The channel '{channel}' has records that cannot be used", faults)
    report = ChannelReport()
    report.dropped = [
        Dropped(name, "no_annotation", "no annotation file has this image's name")
        for name in unannotated
    ]
    for verdict in verdicts:
        report.dropped += verdict.dropped
    dropped_images = len(unannotated) + sum(v.image_dropped for v in verdicts)
    declared = sum(v.declared_boxes for v in verdicts if not v.image_dropped)
    kept = sum(v.boxes_kept for v in verdicts)
    _check_share(channel, "images", dropped_images, len(source) + len(unannotated), report)
    _check_share(channel, "boxes", declared - kept, declared, report)
    dataset = _assemble(source, verdicts)
    if not len(dataset):
        raise ClientError(
            f"The channel '{channel}' holds no usable image: {len(source)} records were read. "
            "Check that the channel's data is the right one."
        )
    _summarise(report, dataset, verdicts, num_classes)
    _log_report(channel, report)
    return dataset, report


def _judge(source: Source, index: int, num_classes: int) -> _Verdict:
    name = source.name(index)
    try:
        raw = source.read(index)
    except ClientError as error:
        return _Verdict(fault=str(error))
    wrong = (raw.class_ids < 0) | (raw.class_ids >= num_classes)
    if wrong.any():
        value = int(raw.class_ids[wrong][0])
        return _Verdict(
            fault=f"{name}: class_id {value} is not in 0..{num_classes - 1}. Correct the label, or "
            f"set num_classes (now {num_classes}) to the number of classes."
        )
    verdict = _Verdict(declared_boxes=len(raw.class_ids))
    size = _check_image(raw, name, verdict)
    if size is None:
        verdict.image_dropped = True
        return verdict
    _check_boxes(raw, name, size, verdict)
    return verdict


def _check_image(raw: RawRecord, name: str, verdict: _Verdict) -> tuple[int, int] | None:
    """Size (width, height) of the decoded picture; None when the record has to be dropped."""
    try:
        height, width = decode(raw.image, name).shape[:2]
    except ImageError as error:
        reason = "truncated" if is_truncated_jpeg(raw.image) else "undecodable"
        verdict.dropped.append(Dropped(name, reason, str(error)))
        return None
    if raw.declared_size == (height, width) != (width, height):
        detail = (
            f"the annotation says {height} x {width}, the stored picture is {width} x {height}: it "
            "was turned by its orientation tag when it was labelled"
        )
        verdict.dropped.append(Dropped(name, "rotated_size", detail))
        return None
    return width, height


def _check_boxes(raw: RawRecord, name: str, size: tuple[int, int], verdict: _Verdict) -> None:
    boxes = raw.boxes
    if raw.declared_size is not None:
        boxes = from_px(boxes, *raw.declared_size)
    boxes = boxes.astype(np.float32)  # first, so that no kept box loses its area by rounding
    clipped = clip(boxes)
    flat = is_degenerate(boxes)
    outside = ~flat & is_degenerate(clipped)
    shown = np.round(boxes * np.tile(size, 2), 1)
    for kind, rows in (("zero_area", flat), ("outside", outside)):
        for row in np.flatnonzero(rows):
            detail = f"box {row}, class {raw.class_ids[row]}, {shown[row].tolist()} px"
            verdict.dropped.append(Dropped(name, kind, detail))
    good = ~flat & ~outside
    verdict.clipped = int((np.abs(clipped - boxes).max(axis=1, initial=0) > _OVERHANG)[good].sum())
    verdict.boxes = clipped[good]
    verdict.class_ids = raw.class_ids[good]
    verdict.difficult = raw.difficult[good]


def _check_share(channel: str, what: str, dropped: int, total: int, report: ChannelReport) -> None:
    if dropped <= MAX_DROPPED_SHARE * total:
        return
    drops = [d for d in report.dropped if (d.reason in _BOX_REASONS) == (what == "boxes")]
    reasons = Counter(drop.reason for drop in drops)
    counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    examples = [f"{d.record}: {d.reason}, {d.detail}" for d in drops]
    raise refusal(
        f"{dropped} of {total} {what} of the channel '{channel}' cannot be used, more than "
        f"{MAX_DROPPED_SHARE:.0%} ({counts}). Mend or remove them. They are",
        examples,
    )


def _assemble(source: Source, verdicts: Sequence[_Verdict]) -> Dataset:
    passed = [(i, v) for i, v in enumerate(verdicts) if not v.image_dropped]
    counts = [v.boxes_kept for _, v in passed]

    def join(name: str, dtype: type, width: tuple[int, ...] = ()) -> NDArray[Any]:
        empty = np.zeros((0, *width))
        parts = [getattr(v, name) for _, v in passed]
        joined: NDArray[Any] = np.concatenate([empty, *parts]).astype(dtype)
        return joined

    return Dataset(
        source=source,
        indices=np.array([i for i, _ in passed], dtype=np.int64),
        offsets=np.cumsum([0, *counts], dtype=np.int64),
        boxes=join("boxes", np.float32, (4,)),
        class_ids=join("class_ids", np.int32),
        difficult=join("difficult", np.bool_),
    )


def _summarise(
    report: ChannelReport, dataset: Dataset, verdicts: Sequence[_Verdict], num_classes: int
) -> None:
    report.images = len(dataset)
    report.boxes = len(dataset.boxes)
    counts = np.bincount(dataset.class_ids, minlength=num_classes)
    report.boxes_per_class = {str(i): int(n) for i, n in enumerate(counts)}
    report.images_without_boxes = int((np.diff(dataset.offsets) == 0).sum())
    report.boxes_clipped = sum(v.clipped for v in verdicts)
    report.label_width = 2 + 5 * max((v.declared_boxes for v in verdicts), default=0)


def _log_report(channel: str, report: ChannelReport) -> None:
    log.info(
        "Channel '%s': %d images with %d boxes passed the gate (%s by class_id), %d of them "
        "without boxes, %d boxes clipped to the image.",
        channel,
        report.images,
        report.boxes,
        report.boxes_per_class,
        report.images_without_boxes,
        report.boxes_clipped,
    )
    for drop in report.dropped[:_SHOWN_DROPS]:
        log.warning("Dropped %s: %s, %s", drop.record, drop.reason, drop.detail)
    if len(report.dropped) > _SHOWN_DROPS:
        log.warning("%d more were dropped.", len(report.dropped) - _SHOWN_DROPS)
    empty = [class_id for class_id, count in report.boxes_per_class.items() if not count]
    if empty:
        log.warning("Channel '%s' has no box of class_id %s.", channel, ", ".join(empty))

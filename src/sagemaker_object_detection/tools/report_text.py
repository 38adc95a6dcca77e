"""The data report for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sagemaker_object_detection.data.reasons import REASONS

_SHOWN_CLASSES = 30
_SHOWN_SIZES = 5
_SHOWN_NAMES = 5
_BAR = 24
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def report_text(report: Mapping[str, Any]) -> str:
    """The content of data_report.json as lines to read."""
    lines: list[str] = []
    for name, channel in report["channels"].items():
        lines += [name, *(f"  {line}" for line in _channel(channel)), ""]
    for leak in report["leaked_images"]:
        lines += [*_leak(leak, report), ""]
    return printable("\n".join(lines))


def printable(text: str) -> str:
    """A text that any terminal can show: what is no character, or steers it, as an escape."""
    shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def _channel(channel: Mapping[str, Any]) -> Iterator[str]:
    images, boxes = channel["images"], channel["boxes"]
    yield f"images         {images:,}, {channel['images_without_boxes']:,} of them without boxes"
    yield f"boxes          {boxes:,}, at most {(channel['label_width'] - 2) // 5} an image"
    yield from _classes(channel["boxes_per_class"], boxes)
    sizes = [f"{s['width']} x {s['height']} ({s['images']:,})" for s in channel["image_sizes"]]
    more = ", ..." if len(sizes) > _SHOWN_SIZES else ""
    yield f"image sizes    {', '.join(sizes[:_SHOWN_SIZES]) or '-'}{more}"
    yield from _box_sizes(channel)
    if channel["duplicates"]["images"]:
        pair = " = ".join(channel["duplicates"]["examples"][0][:2])
        yield f"copies         {channel['duplicates']['images']:,} images, as {pair}"
    if channel["boxes_clipped"]:
        yield f"clipped        {channel['boxes_clipped']:,} boxes hung over the picture's edge"
    yield from _reasons(channel, "dropped")
    yield from _reasons(channel, "noted")


def _classes(counts: Mapping[str, int], boxes: int) -> Iterator[str]:
    shown = list(counts.items())[:_SHOWN_CLASSES]
    width = max((len(label) for label, _ in shown), default=0)
    digits = max((len(f"{count:,}") for _, count in shown), default=0)
    most = max((count for _, count in shown), default=0) or 1
    for label, count in shown:
        bar = "#" * -(-_BAR * count // most)
        share = f"{count / boxes:6.1%}" if boxes else ""
        yield f"  {label:{width}}  {count:{digits},}  {share}  {bar}".rstrip()
    if len(counts) > len(shown):
        yield f"  and {len(counts) - len(shown)} more classes"


def _box_sizes(channel: Mapping[str, Any]) -> Iterator[str]:
    anchors, sizes = channel["anchors"], channel["box_sizes"]
    if not sizes["size"]:
        return
    side = anchors["image_shape"]
    named = dict(zip(sizes["quantiles"], sizes["size"], strict=True))
    low, middle, high = (side * named[mark] for mark in (0.0, 0.5, 1.0))
    yield (
        f"box sizes      {low:.0f} to {high:.0f} px of {side}, the median is {middle:.0f} "
        "(square root of the area)"
    )
    yield (
        f"anchors        {anchors['unmatched_share']:.1%} of the boxes overlap none of "
        f"{anchors['base_network']} at {side} by more than {anchors['match_iou']}; such a box has "
        "its best anchor alone"
    )


def _reasons(channel: Mapping[str, Any], what: str) -> Iterator[str]:
    for name, count in channel[f"{what}_counts"].items():
        reason = REASONS[name]
        yield f"{reason.policy:13}  {count:,} {name}: {reason.text} {reason.cure}"
        rows = [row for row in channel[what] if row["reason"] == name][:_SHOWN_NAMES]
        for row in rows:
            yield f"  {row['record']}: {row['detail']}"
        if count > len(rows):
            yield f"  ... and {count - len(rows):,} more"


def _leak(leak: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    first, second = leak["channels"]
    yield (
        f"LEAKAGE: {leak['images']:,} images of {second} are in {first} too, byte for byte; scores "
        "come out too high. Remove them from one of the two."
    )
    pairs = [pair for pair in report["leakage"] if set(pair) == {first, second}][:_SHOWN_NAMES]
    for pair in pairs:
        yield f"  {pair[second]} is {pair[first]}"
    if leak["images"] > len(pairs):
        yield f"  ... and {leak['images'] - len(pairs):,} more"

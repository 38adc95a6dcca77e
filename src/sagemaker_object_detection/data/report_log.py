"""The data report as lines of the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sagemaker_object_detection.data.reasons import REASONS

log = logging.getLogger(__name__)

_LOGGED_DROPS = 10
_LOGGED_CLASSES = 20
_LOGGED_LEAKS = 5


def log_report(report: Mapping[str, Any]) -> None:
    """Say in the log what passed the gate, what did not, and what is odd about it."""
    for name, channel in report["channels"].items():
        _log_channel(name, channel)
    for leak in report["leaked_images"]:
        first, second = leak["channels"]
        pairs = [p for p in report["leakage"] if set(p) == {first, second}][:_LOGGED_LEAKS]
        log.warning(
            "Leakage: %d images of the channel '%s' are in '%s' too, byte for byte, so that scores "
            "come out too high. Remove them from one of the two: %s%s",
            leak["images"],
            second,
            first,
            "; ".join(f"{pair[second]} is {pair[first]}" for pair in pairs),
            "." if leak["images"] <= len(pairs) else f"; and {leak['images'] - len(pairs)} more.",
        )


def _log_channel(name: str, channel: Mapping[str, Any]) -> None:
    log.info(
        "Channel '%s': %d images with %d boxes passed the gate (%s), %d of them without boxes, "
        "%d boxes clipped to the image.",
        name,
        channel["images"],
        channel["boxes"],
        ", ".join(_shortened([f"{k} {n}" for k, n in channel["boxes_per_class"].items()])),
        channel["images_without_boxes"],
        channel["boxes_clipped"],
    )
    anchors = channel["anchors"]
    log.info(
        "Channel '%s': %.1f %% of the boxes overlap no anchor of %s at image_shape %d by more than "
        "%.1f; each of them is learnt by its best anchor alone.",
        name,
        100 * anchors["unmatched_share"],
        anchors["base_network"],
        anchors["image_shape"],
        anchors["match_iou"],
    )
    drops = channel["dropped"][:_LOGGED_DROPS]
    for drop in drops:
        log.warning("Dropped %s: %s, %s", drop["record"], drop["reason"], drop["detail"])
    more = sum(channel["dropped_counts"].values()) - len(drops)
    if more:
        log.warning("%d more of channel '%s' were dropped.", more, name)
    for reason, count in channel["noted_counts"].items():
        rows = [row for row in channel["noted"] if row["reason"] == reason][:_LOGGED_DROPS]
        log.warning(
            "Channel '%s': %d images: %s %s%s",
            name,
            count,
            REASONS[reason].text,
            "; ".join(f"{row['record']}, {row['detail']}" for row in rows),
            "." if count <= len(rows) else f"; and {count - len(rows)} more.",
        )
    empty = [label for label, count in channel["boxes_per_class"].items() if not count]
    if empty:
        log.warning("Channel '%s' has no box of class %s.", name, ", ".join(_shortened(empty)))
    if channel["duplicates"]["images"]:
        log.warning(
            "Channel '%s': %d images are copies of others in it, byte for byte, as %s.",
            name,
            channel["duplicates"]["images"],
            " and ".join(channel["duplicates"]["examples"][0][:2]),
        )


def _shortened(items: Sequence[str]) -> list[str]:
    more = len(items) - _LOGGED_CLASSES
    return [*items[:_LOGGED_CLASSES], *([f"and {more} more"] if more > 0 else [])]

"""data_report.html: the content of data_report.json as one page to look at.

The page stands alone: styles and bars are in it, and it has no script. Everything that comes from
the data is escaped by the template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from sagemaker_object_detection import __version__
from sagemaker_object_detection.data.pages import render_page
from sagemaker_object_detection.data.reasons import REASONS, Reason
from sagemaker_object_detection.model.artifact import write_text_whole

JSON_FILE = "data_report.json"
HTML_FILE = "data_report.html"

_TEMPLATE = "data_report.html.j2"
_SHOWN_CLASSES = 40
_SHOWN_SIZES = 8
_SHOWN_NAMES = 100
_CLIPPED = "overhang"


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write JSON_FILE and HTML_FILE into a folder that is there.

    Raises OSError where they cannot be written.
    """
    write_text_whole(folder / JSON_FILE, as_json(report))
    write_text_whole(folder / HTML_FILE, render(report))


def as_json(report: Mapping[str, Any]) -> str:
    """The text of JSON_FILE. It is ASCII: file names need not be text in any encoding."""
    return json.dumps(report, indent=1) + "\n"


def render(report: Mapping[str, Any]) -> str:
    """The page for a report of `make_report`."""
    channels = report["channels"]
    values = {
        "report": report,
        "channels": channels,
        "network": next((channel["anchors"] for channel in channels.values()), None),
        "colours": {name: number % 3 for number, name in enumerate(channels)},
        "classes": _classes(channels),
        "shown_classes": _SHOWN_CLASSES,
        "histograms": {name: _histogram(channel["anchors"]) for name, channel in channels.items()},
        "quantiles": {name: _quantiles(channel) for name, channel in channels.items()},
        "shown_sizes": _SHOWN_SIZES,
        "left_out": {name: _left_out(channel) for name, channel in channels.items()},
        "dropped_boxes": {
            name: _dropped(channel, "box dropped") for name, channel in channels.items()
        },
        "dropped_images": {
            name: _dropped(channel, "image dropped") for name, channel in channels.items()
        },
        "shown_names": _SHOWN_NAMES,
        "json_file": JSON_FILE,
        "version": __version__,
    }
    return render_page(Path(__file__).parent, _TEMPLATE, values)


def _classes(channels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each class; bars are shares of a channel's boxes, the longest of all is 100."""
    totals = {name: max(1, channel["boxes"]) for name, channel in channels.items()}
    counts = {name: channel["boxes_per_class"] for name, channel in channels.items()}
    labels = list(dict.fromkeys(label for channel in counts.values() for label in channel))
    shares = {
        label: {name: counts[name].get(label, 0) / totals[name] for name in channels}
        for label in labels
    }
    longest = max((share for row in shares.values() for share in row.values()), default=0) or 1
    return [
        {
            "label": label,
            "bars": [
                {
                    "channel": name,
                    "boxes": counts[name].get(label, 0),
                    "of": channels[name]["boxes"],
                    "length": round(100 * shares[label][name] / longest, 2),
                }
                for name in channels
            ],
        }
        for label in labels
    ]


def _histogram(anchors: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of boxes by size, 100 high; anchors at their places along the same axis."""
    rows = anchors["unmatched_by_size"]
    highest = max((row["boxes"] for row in rows), default=0) or 1
    columns = [
        {
            **row,
            "matched": round(100 * (row["boxes"] - row["unmatched_boxes"]) / highest, 2),
            "unmatched": round(100 * row["unmatched_boxes"] / highest, 2),
        }
        for row in rows
    ]
    edges = [0, *(row["to_px"] for row in rows)]
    return {
        "columns": columns,
        "highest": highest,
        "anchors": [
            {"px": px, "at": round(_place(px, edges), 3)} for px in anchors["anchor_sizes_px"]
        ],
    }


def _place(px: float, edges: Sequence[float]) -> float:
    """Where a size lies along columns of width 1 between these edges, cut off at the last."""
    for column, (low, high) in enumerate(pairwise(edges)):
        if px < high:
            return column + (px - low) / (high - low)
    return float(len(edges) - 1)


def _quantiles(channel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each quantile: size in pixels of the square input, and ratio."""
    sizes = channel["box_sizes"]
    side = channel["anchors"]["image_shape"]
    words = {0.0: "smallest", 0.5: "median", 1.0: "largest"}
    if not sizes["size"]:
        return []
    rows = zip(sizes["quantiles"], sizes["size"], sizes["ratio"], strict=True)
    return [
        {"label": words.get(mark, f"{mark:.0%}"), "size_px": size * side, "ratio": ratio}
        for mark, size, ratio in rows
    ]


def _left_out(channel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What became of records and boxes that did not pass as they were, by reason."""
    groups = [
        {
            "name": name,
            "reason": _reason(name),
            "count": count,
            "rows": [row for row in channel[rows] if row["reason"] == name][:_SHOWN_NAMES],
        }
        for rows in ("dropped", "noted")
        for name, count in channel[f"{rows}_counts"].items()
    ]
    if channel["boxes_clipped"]:
        groups.append(
            {
                "name": _CLIPPED,
                "reason": _reason(_CLIPPED),
                "count": channel["boxes_clipped"],
                "rows": [],
            }
        )
    return groups


def _dropped(channel: Mapping[str, Any], policy: str) -> int:
    counts: Mapping[str, int] = channel["dropped_counts"]
    return sum(count for name, count in counts.items() if _reason(name).policy == policy)


def _reason(name: str) -> Reason:
    return REASONS[name]

"""What the gate saw, as the content of data_report.json.

It is plain JSON values, made once from the tallies of all channels; the log (report_log), the HTML
page and the terminal show the same figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import area
from sagemaker_object_detection.data.tally import Tally
from sagemaker_object_detection.model.specs import Spec, make_anchors

FORMAT_VERSION = 1
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_IMAGE_SIZES = 20
_LEAKED_PAIRS = 1000
_CHUNK = 2**14
_DUPLICATES_SHOWN = 10
_SMALLEST_STEP_PX = 4

Json = dict[str, Any]


@dataclass(frozen=True)
class Checked:
    """A channel that was looked through: its tally, and the name of a record by its index."""

    tally: Tally
    name: Callable[[int], str]

    def passed_name(self, position: int) -> str:
        """What the picture that passed as number `position` is called."""
        return self.name(int(self.tally.indices[position]))


def make_report(
    channels: Sequence[Checked],
    class_names: Sequence[str],
    spec: Spec,
    refused: Sequence[str] = (),
) -> Json:
    """The content of data_report.json.

    Args:
        channels: in the order in which they are shown.
        class_names: a class without one, or with that of another, goes by its id.
        spec: the network whose anchors the boxes are held against.
        refused: why the data cannot be trained on; empty when it can.
    """
    labels = class_labels(class_names, max((c.tally.num_classes for c in channels), default=0))
    leakage, leaked = _leakage(channels)
    return {
        "format_version": FORMAT_VERSION,
        "refused": list(refused),
        "channels": {c.tally.channel: _channel(c, labels, spec) for c in channels},
        "leakage": leakage,
        "leaked_images": leaked,
    }


def class_labels(names: Sequence[str], num_classes: int) -> list[str]:
    """One key for every class; no two are alike."""
    labels: dict[str, None] = {}
    for class_id in range(num_classes):
        name = names[class_id] if class_id < len(names) else ""
        choices = (name, str(class_id), f"class_id {class_id}", f"class_id {class_id} ({name})")
        labels[next(choice for choice in choices if choice and choice not in labels)] = None
    return list(labels)


def _channel(checked: Checked, labels: Sequence[str], spec: Spec) -> Json:
    tally = checked.tally
    counts = tally.boxes_per_class
    return {
        "images": tally.images,
        "boxes": tally.boxes_kept,
        "boxes_per_class": {
            labels[class_id]: int(counts[class_id]) for class_id in range(tally.num_classes)
        },
        "images_without_boxes": tally.images_without_boxes,
        "boxes_clipped": tally.clipped,
        "label_width": tally.label_width,
        "dropped": [asdict(drop) for drop in tally.dropped],
        "dropped_counts": dict(tally.dropped_counts.most_common()),
        "noted": [asdict(row) for row in tally.noted],
        "noted_counts": dict(tally.noted_counts.most_common()),
        "refused_records": tally.fault_count,
        "duplicates": _duplicates(checked),
        "image_sizes": _image_sizes(tally.sizes),
        "box_sizes": _box_sizes(tally.boxes),
        "anchors": _anchors(tally.boxes, spec),
    }


def _image_sizes(sizes: NDArray[Any]) -> list[Json]:
    """The most frequent sizes, at most 20; of equally frequent ones the smaller first."""
    found: Counter[int] = Counter()
    for chunk in _chunks(sizes):
        packed = chunk[:, 0].astype(np.int64) << 32 | chunk[:, 1]
        values, counts = np.unique(packed, return_counts=True)
        found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    common = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:_IMAGE_SIZES]
    return [
        {"width": value >> 32, "height": value & 0xFFFFFFFF, "images": count}
        for value, count in common
    ]


def _chunks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Some rows at a time, since what is made for each of them takes memory."""
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _box_sizes(boxes: NDArray[Any]) -> Json:
    """Quantiles of the square root of the area and of width / height, in 0..1 of the sides."""
    size = _quantiles(boxes, lambda width, height: np.sqrt(width * height))
    ratio = _quantiles(boxes, lambda width, height: width / height)
    return {"quantiles": list(QUANTILES), "size": size, "ratio": ratio}


def _quantiles(
    boxes: NDArray[Any], measure: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
) -> list[float]:
    if not len(boxes):
        return []
    values = np.concatenate(
        [
            measure(*(chunk[:, 2:] - chunk[:, :2]).astype(np.float64).T).astype(np.float32)
            for chunk in _chunks(boxes)
        ]
    )
    return _rounded(np.quantile(values, QUANTILES, overwrite_input=True))


def _rounded(values: NDArray[Any]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _anchors(boxes: NDArray[Any], spec: Spec) -> Json:
    """Boxes that no anchor matches, in all and by their size in pixels of the square input."""
    side = spec.image_shape
    edges = _size_steps(side)
    by_size = np.zeros((2, len(edges) - 1), np.int64)  # all boxes, and the unmatched
    for chunk in _chunks(boxes):
        lost = best_overlaps(chunk, spec) <= MATCH_IOU
        sizes_px = np.sqrt(area(chunk.astype(np.float64))) * side
        step = np.searchsorted(edges[1:-1], sizes_px, side="right")
        by_size += [np.bincount(s, minlength=len(edges) - 1) for s in (step, step[lost])]
    unmatched = int(by_size[1].sum())
    return {
        "base_network": spec.base_network,
        "image_shape": side,
        "match_iou": MATCH_IOU,
        "anchor_sizes_px": _rounded(np.array(anchor_sizes(spec)) * side),
        "unmatched_boxes": unmatched,
        "unmatched_share": round(unmatched / max(1, len(boxes)), 6),
        "unmatched_by_size": [
            {
                "from_px": edges[i],
                "to_px": edges[i + 1],
                "boxes": int(all_boxes),
                "unmatched_boxes": int(lost_boxes),
            }
            for i, (all_boxes, lost_boxes) in enumerate(by_size.T)
        ],
    }


def _size_steps(side: int) -> list[int]:
    """0 and whole pixels up to `side`, each about 1.4 times the one before."""
    steps = [side]
    while (step := side / 2 ** (len(steps) / 2)) >= _SMALLEST_STEP_PX:
        steps.append(round(step))
    return [0, *reversed(steps)]


def _duplicates(checked: Checked) -> Json:
    count, groups = groups_inside(checked.tally.digests, _DUPLICATES_SHOWN)
    examples = [[checked.passed_name(int(member)) for member in group] for group in groups]
    return {"images": count, "examples": examples}


def _leakage(channels: Sequence[Checked]) -> tuple[list[Json], list[Json]]:
    """Pictures that two channels share by name, and how many of the later one they are.

    All channels that share some have equally much room for names.
    """
    found = [
        (first, second, pairs)
        for first, second in combinations(channels, 2)
        if len(pairs := pairs_across(first.tally.digests, second.tally.digests))
    ]
    named: list[Json] = []
    counts: list[Json] = []
    for first, second, pairs in found:
        names = first.tally.channel, second.tally.channel
        counts.append({"channels": list(names), "images": len(pairs)})
        for a, b in pairs[: _LEAKED_PAIRS // len(found)].tolist():
            named.append({names[0]: first.passed_name(a), names[1]: second.passed_name(b)})
    return named, counts


_DIGESTS_AT_A_TIME = 2**14
"""Pictures looked at together: what is made for each of them takes memory."""


def groups_inside(digests: NDArray[Any], most: int) -> tuple[int, list[NDArray[Any]]]:
    """Copies inside one channel.

    Args:
        digests: uint64 (k,).
        most: groups that are shown, and members of each.

    Returns:
        how many pictures have the digest of an earlier one; positions of the first groups, int64.
    """
    ordered = np.sort(digests)
    copies = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(copies):
        return 0, []
    several = _positions(digests, np.unique(copies))
    _, firsts, groups = np.unique(digests[several], return_index=True, return_inverse=True)
    shown = [several[groups == group][:most] for group in np.argsort(firsts)[:most]]
    return len(copies), shown


def _positions(digests: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    """Where those are that are among the wanted, which are in order."""
    found = np.zeros(len(digests), np.bool_)
    for start in range(0, len(digests), _DIGESTS_AT_A_TIME):
        chunk = digests[start : start + _DIGESTS_AT_A_TIME]
        nearest = np.minimum(np.searchsorted(wanted, chunk), len(wanted) - 1)
        found[start : start + _DIGESTS_AT_A_TIME] = wanted[nearest] == chunk
    return np.flatnonzero(found)


def pairs_across(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Every picture of `second` that is in `first` too, with the first place where it is there.

    Args:
        first, second: digests of two channels, uint64.

    Returns:
        int64 (n, 2), rows (position in first, position in second), ascending in the second.
    """
    if not len(first):
        return np.zeros((0, 2), np.int64)
    order = np.argsort(first, kind="stable")
    rows = []
    for start in range(0, len(second), _DIGESTS_AT_A_TIME):
        chunk = second[start : start + _DIGESTS_AT_A_TIME]
        place = np.searchsorted(first, chunk, sorter=order)
        nearest = order[np.minimum(place, len(first) - 1)]
        leaked = np.flatnonzero(first[nearest] == chunk)
        rows.append(np.stack([nearest[leaked], start + leaked], axis=1))
    return np.concatenate([np.zeros((0, 2), np.int64), *rows])


MATCH_IOU = 0.5
_BOXES_AT_A_TIME = 8192


def best_overlaps(boxes: NDArray[Any], spec: Spec) -> NDArray[Any]:
    """The largest IoU of every box with any anchor of the network.

    Among anchors of one shape the one whose centre is nearest to the box's is the best: the
    overlap in x and the overlap in y only shrink with the distance, each for itself, and the
    centres form a grid. So one cell of each feature map is looked at and not thousands.

    Args:
        boxes: (n, 4), xyxy in 0..1.

    Returns:
        float32 (n,), in 0..1.
    """
    anchors = make_anchors(spec)[0]
    best = np.zeros(len(boxes), dtype=np.float32)
    for start in range(0, len(boxes), _BOXES_AT_A_TIME):
        chunk = boxes[start : start + _BOXES_AT_A_TIME].astype(np.float32)
        areas = area(chunk)
        centres = (chunk[:, :2].astype(np.float64) + chunk[:, 2:]) / 2
        found = best[start : start + _BOXES_AT_A_TIME]
        offset = 0
        for side, shapes in zip(spec.map_sides, spec.anchors_per_cell, strict=True):
            column, row = np.clip((centres * side).astype(np.int64), 0, side - 1).T
            first = offset + (row * side + column) * shapes
            for shape in range(shapes):
                np.maximum(found, _paired_iou(chunk, areas, anchors[first + shape]), out=found)
            offset += side * side * shapes
    return best


def _paired_iou(a: NDArray[Any], areas_a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """IoU of row i of `a` with row i of `b`; no box of `b` is without area."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    np.maximum(sides, 0, out=sides)
    intersection = sides[:, 0] * sides[:, 1]
    result: NDArray[Any] = intersection / (areas_a + area(b) - intersection)
    return result


def anchor_sizes(spec: Spec) -> tuple[float, ...]:
    """The square roots of the anchors' areas in 0..1 of the image side, ascending.

    The ratio of an anchor does not change its area, so there are two a feature map.
    """
    steps = zip(spec.sizes, spec.sizes[1:], strict=False)
    return tuple(sorted({size for pair in steps for size in (pair[0], sqrt(pair[0] * pair[1]))}))

"""Why the gate refuses a channel, drops a record or a box, or changes one: one table.

The report is made from it, and the table in docs/errors.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Policy = Literal["refused", "image dropped", "box dropped", "box changed", "noted"]


@dataclass(frozen=True)
class Reason:
    """What becomes of the record or the box, what is wrong with it, and how to mend it."""

    policy: Policy
    text: str
    cure: str


REASONS: Mapping[str, Reason] = {
    "unreadable_label": Reason(
        "refused",
        "The annotation or the label vector cannot be understood, or its file is missing.",
        "Mend the record that the message names, or remove it.",
    ),
    "class_id": Reason(
        "refused",
        "A class_id is not in 0..num_classes-1.",
        "Correct the label, or set num_classes to the number of classes.",
    ),
    "no_annotation": Reason(
        "image dropped",
        "Nothing annotates the image.",
        'Add one; an image without objects needs "annotations": [].',
    ),
    "undecodable": Reason(
        "image dropped",
        "The bytes are no picture, or a damaged one.",
        "Write the picture again as JPEG or PNG.",
    ),
    "truncated": Reason(
        "image dropped",
        "A JPEG without its end: it would be decoded with a grey rest.",
        "Copy the picture again.",
    ),
    "stored_size": Reason(
        "image dropped",
        "The declared size is that of the stored image, which its orientation tag turns by 90 "
        "degrees: the boxes are those of the stored image, and not of the displayed one.",
        "Label the image as displayed, or remove the tag from its file.",
    ),
    "swapped_size": Reason(
        "image dropped",
        "The declared width and height are swapped; no orientation tag explains it.",
        "Correct the declared size, and see whether the boxes fit the image.",
    ),
    "other_size": Reason(
        "image dropped",
        "The declared size has another aspect ratio than the image: the boxes are of another image "
        "or of a crop.",
        "Use the image that was labeled, or correct the declared size.",
    ),
    "zero_area": Reason(
        "box dropped",
        "The box has no area: right is not larger than left, or bottom than top.",
        "Correct or remove the object.",
    ),
    "outside": Reason(
        "box dropped",
        "The box lies wholly outside the picture.",
        "Correct or remove the object; corners of RecordIO are divided by width and height.",
    ),
    "not_in_pixels": Reason(
        "box dropped",
        "The box lies within the first pixel: its corners are shares of the picture's sides, where "
        "all forms but RecordIO have pixels.",
        "Multiply left and right by the picture's width, top and bottom by its height.",
    ),
    "resized": Reason(
        "noted",
        "The declared size differs from that of the image, with the same aspect ratio: the image "
        "was resized after labeling, and the boxes were scaled with it.",
        "Nothing needs to be done if that is so.",
    ),
    "turned": Reason(
        "noted",
        "The declared size is that of the stored image, which its orientation tag turns by 90 "
        "degrees: the boxes were turned too.",
        "Nothing needs to be done.",
    ),
    "orientation": Reason(
        "noted",
        "The image has an orientation tag. It is applied: boxes refer to the image as displayed.",
        "Nothing needs to be done if the image was labeled as displayed.",
    ),
    "ignored_orientation": Reason(
        "noted",
        "The image has an orientation tag that is not applied, though a viewer may apply it.",
        "Store the image turned, without the tag, if it was labeled as a viewer displays it.",
    ),
    "overhang": Reason(
        "box changed",
        "The box hangs over the picture's edge and was cut off there.",
        "Nothing needs to be done.",
    ),
}
"""Every reason by its name in data_report.json."""

BOX_REASONS = frozenset(name for name, r in REASONS.items() if r.policy == "box dropped")


def reasons_table() -> str:
    """The reasons as a table in Markdown."""
    rows = [("name", "what is wrong", "result", "fix"), ("---",) * 4]
    for name, reason in REASONS.items():
        rows.append((f"`{name}`", reason.text, reason.policy, reason.cure))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)

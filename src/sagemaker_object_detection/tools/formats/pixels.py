"""Boxes in pixels as JSON formats write them."""

from sagemaker_object_detection.tools.formats.record import Boxes

Number = int | float


def ltwh(boxes_px: Boxes) -> list[tuple[Number, Number, Number, Number]]:
    """Left, top, width and height of boxes (n, 4) xyxy; a box that is inverted has a side below 0.

    To a millionth of a pixel, without the noise of subtraction.
    """
    return [
        (_number(left), _number(top), _number(right - left), _number(bottom - top))
        for left, top, right, bottom in boxes_px.tolist()
    ]


def _number(value: float) -> Number:
    """A whole number without its ``.0``."""
    value = round(value, 6)
    return int(value) if value.is_integer() else value

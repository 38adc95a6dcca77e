"""The colors of classes: the same in annotated images, in the report and on the endpoint's page."""

from __future__ import annotations

import colorsys

Color = tuple[int, int, int]
"""Red, green and blue in 0..255."""


def color_of(class_id: int) -> Color:
    """The color of a class; neighboring ids get hues far apart."""
    hue = (0.02 + class_id * 0.618034) % 1
    value = (0.95, 0.75, 0.85)[class_id // 7 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def text_color_on(background: Color) -> Color:
    """Black or white, whichever has the higher contrast (WCAG 2.2, relative luminance)."""
    red, green, blue = (
        one / 255 / 12.92 if one <= 10 else ((one / 255 + 0.055) / 1.055) ** 2.4
        for one in background
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def css(color: Color) -> str:
    """A color for a style sheet or an SVG attribute."""
    return "#{:02x}{:02x}{:02x}".format(*color)

from __future__ import annotations

import numpy as np
import pytest

from sagemaker_object_detection.colors import Color, color_of, css, text_color_on

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def test_colors_of_neighbors_differ() -> None:
    colors = np.array([color_of(k) for k in range(20)], np.float64)
    assert len({tuple(c) for c in colors.tolist()}) == 20
    assert (np.abs(np.diff(colors, axis=0)).sum(axis=1) > 150).all()


@pytest.mark.parametrize(
    ("background", "text"),
    [
        pytest.param(BLACK, WHITE, id="black"),
        pytest.param(WHITE, BLACK, id="white"),
        pytest.param((117, 117, 117), WHITE, id="the darkest side of the middle"),
        pytest.param((119, 119, 119), BLACK, id="the lightest side of the middle"),
        pytest.param((0, 0, 255), WHITE, id="blue is dark"),
        pytest.param((255, 0, 0), BLACK, id="red is lighter than it looks"),
    ],
)
def test_text_color(background: Color, text: Color) -> None:
    assert text_color_on(background) == text


def test_text_on_the_color_of_a_class_can_be_read() -> None:
    """The contrast of WCAG AA: 4.5."""
    colors = np.array([color_of(k) for k in range(90)]) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    is_black = np.array([text_color_on(color_of(k)) == BLACK for k in range(90)])
    contrast = np.where(is_black, (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05))
    assert contrast.min() >= 4.5


def test_css() -> None:
    assert css((255, 10, 0)) == "#ff0a00"

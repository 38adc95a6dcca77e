"""Augmentation: boxes stay on their pixels, and the draws are spread as the table says."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.boxes import iou
from sagemaker_object_detection.data import augment
from sagemaker_object_detection.data.augment import FILL, Augmentation, boxes_in_region

IMAGE = (0.0, 0.0, 1.0, 1.0)
STILL = Augmentation(
    colour_probability=0, expand_probability=0, crop_overlaps=(None,), flip_probability=0
)
NO_BOXES = np.zeros((0, 4), np.float32)


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def painted(box: npt.NDArray[np.float64], width: int = 160, height: int = 120) -> npt.NDArray:
    """Black, the box white."""
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = np.rint(box * (width, height, width, height)).astype(int)
    image[y0:y1, x0:x1] = 255
    return image


def some_boxes(seed: int) -> npt.NDArray[np.float64]:
    """Three boxes (3, 4) on whole pixels of 160 x 120, sides 20 to 80 %."""
    generator = random(seed)
    sides = generator.uniform(0.2, 0.8, (3, 2))
    corners = generator.random((3, 2)) * (1 - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1)
    return np.rint(boxes * (160, 120, 160, 120)) / (160, 120, 160, 120)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_boxes_move_with_their_pixels(seed: int) -> None:
    """What is painted into a box is found in the box that comes out.

    The same draws on the picture without paint, subtracted, leave the painted box alone, whatever
    happened to the colours.
    """
    side = 96
    augmentation = Augmentation()
    boxes = some_boxes(seed)
    nothing = np.zeros((120, 160, 3), np.uint8)
    bare, moved, kept = augmentation(nothing, boxes, side, random(seed))
    assert kept.dtype == bool
    assert moved.shape == (kept.sum(), 4)
    found = iter(moved)
    for number, box in enumerate(boxes):
        view, again, _ = augmentation(painted(box), boxes, side, random(seed))
        np.testing.assert_array_equal(again, moved)
        change = np.abs(view.astype(int) - bare).max(axis=2)
        rows, columns = np.nonzero(change > max(change.max() / 2, 8))
        if not kept[number]:  # its centre is not in view, so the edge cuts it off
            edges = len(rows) and [columns.min(), rows.min(), 95 - columns.max(), 95 - rows.max()]
            assert not len(rows) or min(edges) <= 2
            continue
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(next(found) * side, seen, atol=2)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 5))
def test_what_comes_out_is_valid(seed: int, count: int) -> None:
    generator = random(seed)
    corners = np.sort(generator.random((count, 2, 2)), axis=1)
    boxes = corners.reshape(count, 4).astype(np.float32)
    height, width = generator.integers(1, 40, 2)
    image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    view, moved, kept = Augmentation()(image, boxes, 32, generator)
    assert view.shape == (32, 32, 3)
    assert view.dtype == np.uint8
    assert kept.shape == (count,)
    assert moved.shape == (kept.sum(), 4)
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (moved[:, :2] < moved[:, 2:]).all()


def test_the_same_draws_give_the_same_view() -> None:
    image = random(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    before = image.copy()
    views = [Augmentation()(image, some_boxes(0), 32, random(5)) for _ in range(2)]
    for one, other in zip(*views, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(image, before)  # the decoded picture itself is left alone


def test_crops_of_the_paper() -> None:
    """Each of the paper's overlaps, and one choice in six of no crop at all."""
    assert Augmentation().crop_overlaps == (None, 0.1, 0.3, 0.5, 0.7, 0.9)


def test_nothing_asked_for_leaves_all_as_it_is() -> None:
    image = random(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    view, boxes, kept = STILL(image, some_boxes(0), 32, random(0))
    np.testing.assert_array_equal(view, image)
    np.testing.assert_array_equal(boxes, some_boxes(0))
    assert kept.all()


REGIONS = [
    pytest.param(IMAGE, [[0.1, 0.2, 0.3, 0.4]], [[0.1, 0.2, 0.3, 0.4]], [1], id="whole image"),
    pytest.param(
        (0.5, 0, 1, 1), [[0.6, 0.2, 0.8, 0.4]], [[0.2, 0.2, 0.6, 0.4]], [1], id="right half"
    ),
    pytest.param(
        (-1, -1, 3, 3), [[0, 0, 1, 1]], [[0.25, 0.25, 0.5, 0.5]], [1], id="expanded four times"
    ),
    pytest.param(
        (0.5, 0, 1, 1), [[0.4, 0, 0.8, 1]], [[0, 0, 0.6, 1]], [1], id="overhang is clipped"
    ),
    pytest.param((0.5, 0, 1, 1), [[0.1, 0, 0.8, 1]], [], [0], id="centre left of the region"),
    pytest.param((0, 0.5, 1, 1), [[0, 0.1, 1, 0.8]], [], [0], id="centre above the region"),
    pytest.param((0, 0, 0.5, 1), [[0.4, 0, 0.7, 1]], [], [0], id="centre right of the region"),
    pytest.param((0.5, 0, 1, 1), [[0.25, 0, 0.75, 1]], [], [0], id="centre on the very edge"),
    pytest.param(
        (0, 0, 0.5, 0.5),
        [[0.6, 0.6, 0.9, 0.9], [0, 0, 0.5, 0.5], [0.3, 0.3, 0.9, 0.9], [0.2, 0.2, 0.4, 0.3]],
        [[0, 0, 1, 1], [0.4, 0.4, 0.8, 0.6]],
        [0, 1, 0, 1],
        id="order is kept",
    ),
]


@pytest.mark.parametrize(("region", "boxes", "expected", "kept"), REGIONS)
def test_boxes_in_region(
    region: tuple[float, ...],
    boxes: list[list[float]],
    expected: list[list[float]],
    kept: list[int],
) -> None:
    moved, which = boxes_in_region(np.array(boxes), np.array(region))
    np.testing.assert_allclose(moved, np.reshape(expected, (-1, 4)), atol=1e-12)
    assert which.tolist() == [bool(one) for one in kept]


def test_no_boxes_at_all() -> None:
    view, boxes, kept = Augmentation()(np.zeros((8, 8, 3), np.uint8), NO_BOXES, 16, random(0))
    assert view.shape == (16, 16, 3)
    assert boxes.shape == (0, 4)
    assert kept.shape == (0,)
    assert kept.dtype == bool


RENDERED = [
    pytest.param(IMAGE, (0, 0, 8, 8), id="whole"),
    pytest.param((-0.5, -0.5, 1.5, 1.5), (2, 2, 6, 6), id="expanded, in the middle"),
    pytest.param((0, 0, 2, 4), (0, 0, 4, 2), id="expanded, at the corner, sides differ"),
    pytest.param((-1, 0, 1, 1), (4, 0, 8, 8), id="pushed to the right"),
    pytest.param((0.25, 0.25, 0.75, 0.75), (0, 0, 8, 8), id="crop"),
    pytest.param((2, 2, 3, 3), (0, 0, 0, 0), id="nothing of the image: all filled"),
]


@pytest.mark.parametrize(("region", "inside"), RENDERED)
def test_outside_the_image_is_filled(
    region: tuple[float, ...], inside: tuple[int, int, int, int]
) -> None:
    image = np.full((40, 60, 3), (200, 10, 20), np.uint8)
    view = augment.render_region(image, np.array(region), 8)
    expected = np.full((8, 8, 3), FILL, np.uint8)
    x0, y0, x1, y1 = inside
    expected[y0:y1, x0:x1] = (200, 10, 20)
    np.testing.assert_array_equal(view, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)], ids=str)
def test_tiny_pictures_are_rendered(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    for seed in range(50):
        view, _, _ = Augmentation()(image, np.array([[0.1, 0.1, 0.9, 0.9]]), 16, random(seed))
        assert view.shape == (16, 16, 3)


@pytest.fixture
def regions(monkeypatch: pytest.MonkeyPatch) -> list[npt.NDArray[np.float64]]:
    """The regions that augmentation shows, in the order of the calls; nothing is rendered."""
    shown: list[npt.NDArray[np.float64]] = []
    view = np.zeros((4, 4, 3), np.uint8)

    def note(
        image: npt.NDArray[np.uint8], region: npt.NDArray[np.float64], *_: int
    ) -> npt.NDArray[np.uint8]:
        shown.append(region)
        return view

    monkeypatch.setattr(augment, "render_region", note)
    return shown


def draw(augmentation: Augmentation, boxes: npt.NDArray[np.float64], count: int) -> None:
    generator = random(0)
    image = np.broadcast_to(np.uint8(0), (10**6, 10**6, 3))  # whose regions are hardly rounded
    for _ in range(count):
        augmentation(image, boxes, 4, generator)


def assert_uniform(values: npt.NDArray[np.float64], low: float, high: float) -> None:
    """Spread evenly over low..high: the largest gap between the distributions is small."""
    assert low <= values.min() <= values.max() <= high
    steps = (np.sort(values) - low) / (high - low)
    gap = np.abs(steps - (np.arange(len(values)) + 0.5) / len(values)).max()
    assert gap < 1.9 / np.sqrt(len(values))  # Kolmogorov-Smirnov: passed in 998 of 1000 draws


def test_expansion_is_spread_as_stated(regions: list[npt.NDArray[np.float64]]) -> None:
    draw(Augmentation(crop_overlaps=(None,)), NO_BOXES, 4000)
    shown = np.array(regions)
    sides = shown[:, 2:] - shown[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], rtol=1e-5)
    expanded = sides[:, 0] > 1
    np.testing.assert_array_equal(shown[~expanded], np.tile(IMAGE, (int((~expanded).sum()), 1)))
    assert expanded.mean() == pytest.approx(0.5, abs=0.03)
    ratio = sides[expanded, 0]
    assert_uniform(ratio, 1, 4)
    x, y = -shown[expanded, :2].T / (ratio - 1)  # the image lies anywhere in its canvas
    assert_uniform(x, 0, 1)
    assert_uniform(y, 0, 1)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.1


def test_a_crop_of_a_tiny_image_cuts_boxes_where_it_cuts_pixels() -> None:
    """A white square in 12 x 10 pixels: at 300 px its edges are where its box says."""
    image = np.zeros((10, 12, 3), np.uint8)
    image[2:8, 3:9] = 255
    box = np.array([[3 / 12, 2 / 10, 9 / 12, 8 / 10]])
    augmentation = Augmentation(colour_probability=0, crop_overlaps=(0.1, 0.5))
    generator = random(3)
    for _ in range(200):
        view, boxes, kept = augmentation(image, box, 300, generator)
        if not kept.any():
            continue
        columns, rows = ((view == 255).all(axis=2).any(axis=axis).nonzero()[0] for axis in (0, 1))
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        pixel = 300 * 3.5 / 10  # of the image at most, across which interpolation smears an edge
        assert np.abs(boxes[0] * 300 - found).max() < pixel
        whole = np.rint(boxes[0] * 300)
        inside = view[int(whole[1]) : int(whole[3]), int(whole[0]) : int(whole[2])]
        assert inside.mean() > 160


@pytest.mark.parametrize("overlap", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_crops_keep_to_their_ranges(regions: list[npt.NDArray[np.float64]], overlap: float) -> None:
    boxes = np.array([[0.1, 0.2, 0.9, 0.8], [0.0, 0.0, 0.1, 0.1]])
    draw(Augmentation(crop_overlaps=(overlap,), expand_probability=0), boxes, 300)
    crops = np.array([region for region in regions if tuple(region) != IMAGE])
    assert len(crops) > 5
    sides = crops[:, 2:] - crops[:, :2]
    assert (crops >= 0).all()
    assert (crops <= 1).all()
    assert (sides >= 0.3 - 1e-5).all()
    aspect = sides[:, 0] / sides[:, 1]
    assert ((aspect > 0.5 - 1e-5) & (aspect < 2 + 1e-5)).all()
    assert (iou(crops, boxes).max(axis=1) >= overlap - 1e-5).all()
    assert all(boxes_in_region(boxes, crop)[1].any() for crop in crops)


def test_crops_use_their_whole_range(regions: list[npt.NDArray[np.float64]]) -> None:
    """A crop that any box allows: sides up to 1, down to 0.3, both extremes of the aspect."""
    grid = np.arange(8) / 8
    boxes = np.array([[x, y, x + 1 / 8, y + 1 / 8] for x in grid for y in grid])
    draw(Augmentation(crop_overlaps=(0.0,), expand_probability=0), boxes, 2000)
    shown = np.array(regions)
    sides = shown[:, 2:] - shown[:, :2]
    assert_uniform(sides[:, 0], 0.3, 1.0)
    aspect = sides[:, 0] / sides[:, 1]
    assert aspect.min() < 0.51
    assert aspect.max() > 1.96
    free = sides[:, 0] < 0.9
    assert_uniform((shown[:, 0] / (1 - sides[:, 0]))[free], 0, 1)


def test_crops_of_an_expanded_image_lie_in_its_canvas(
    regions: list[npt.NDArray[np.float64]],
) -> None:
    boxes = np.array([[0.2, 0.2, 0.8, 0.8]])
    draw(Augmentation(crop_overlaps=(0.1,), expand_probability=1), boxes, 500)
    shown = np.array(regions)
    beyond = (shown[:, :2] < 0).any(axis=1) | (shown[:, 2:] > 1).any(axis=1)
    assert beyond.mean() > 0.5  # crops are not kept inside the image
    assert (shown[:, :2] >= -3).all()
    assert (shown[:, 2:] <= 4).all()


@pytest.mark.parametrize(
    ("overlaps", "boxes", "whole", "reason"),
    [
        ((None, 0.1), [[0, 0, 1, 1]], 0.5, "each choice is as likely"),
        ((None, 0.1, 0.1, 0.1), [[0, 0, 1, 1]], 0.25, "one of four leaves the image whole"),
        ((0.1,), [], 1.0, "without boxes there is nothing to crop around"),
        ((0.9,), [[0.4, 0.4, 0.5, 0.5]], 1.0, "no crop overlaps so small a box so much"),
    ],
)
def test_how_often_an_image_stays_whole(
    regions: list[npt.NDArray[np.float64]],
    overlaps: tuple[float | None, ...],
    boxes: list[list[float]],
    whole: float,
    reason: str,
) -> None:
    count = 1500
    still = Augmentation(crop_overlaps=overlaps, expand_probability=0)
    draw(still, np.reshape(np.array(boxes, float), (-1, 4)), count)
    share = np.mean([tuple(region) == IMAGE for region in regions])
    assert share == pytest.approx(whole, abs=0.05), reason


def test_one_box_of_several_is_enough_for_a_crop(regions: list[npt.NDArray[np.float64]]) -> None:
    """GluonCV asks the overlap of every box, so that two far boxes forbid nearly every crop."""
    boxes = np.array([[0.0, 0.0, 0.45, 0.45], [0.55, 0.55, 1.0, 1.0]])
    draw(Augmentation(crop_overlaps=(0.5,), expand_probability=0), boxes, 200)
    crops = np.array([region for region in regions if tuple(region) != IMAGE])
    assert len(crops) > 100
    assert (iou(crops, boxes).min(axis=1) < 0.5).any()


def test_flip() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :8] = 255
    box = np.array([[0.0, 0.25, 0.25, 0.75]])
    flipping = replace(STILL, flip_probability=Augmentation().flip_probability)
    flipped = 0
    for seed in range(1000):
        view, boxes, _ = flipping(image, box, 32, random(seed))
        turned = bool(view[0, -1, 0])
        expected = [[0.75, 0.25, 1.0, 0.75]] if turned else box.tolist()
        assert boxes.tolist() == expected
        np.testing.assert_array_equal(view, cv2.flip(image, 1) if turned else image)
        flipped += turned
    assert flipped / 1000 == pytest.approx(0.5, abs=0.06)


RANGES = ("brightness", "contrast", "saturation", "hue")


def colours_only(*names: str) -> Augmentation:
    """The default draws of these; whatever else might change a pixel is off."""
    default = Augmentation()
    off = dict.fromkeys(set(RANGES) - set(names), 0.0)
    return replace(STILL, colour_probability=default.colour_probability, **off)


def colours(rgb: tuple[int, int, int], *names: str, count: int = 2000) -> npt.NDArray:
    """What becomes of one colour (count, 3) by the default draws of `names` alone."""
    augmentation = colours_only(*names)
    image = np.full((1, 1, 3), rgb, np.uint8)
    views = [augmentation(image, NO_BOXES, 1, random(seed))[0] for seed in range(count)]
    return np.array(views)[:, 0, 0].astype(float)


@settings(max_examples=300, deadline=None)
@given(level=st.integers(0, 255), seed=st.integers(0, 10**6))
def test_grey_stays_grey(level: int, seed: int) -> None:
    image = np.full((2, 2, 3), level, np.uint8)
    view, _, _ = colours_only(*RANGES)(image, NO_BOXES, 2, random(seed))
    assert np.ptp(view.astype(int), axis=2).max() <= 1


TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def spread(values: npt.NDArray[np.float64], reach: float, step: float) -> None:
    """Half of the draws change nothing, the others are even over +- reach; step is rounding."""
    still = np.abs(values) < step
    assert still.mean() == pytest.approx(0.5 + 0.5 * step / reach, abs=0.05)
    changed = values[~still]
    assert np.abs(changed).max() < reach + step
    unrounded = np.abs(changed) + random(1).uniform(-step / 2, step / 2, len(changed))
    assert_uniform(unrounded, 0, reach + step)
    assert (changed > 0).mean() == pytest.approx(0.5, abs=0.06)


def test_brightness() -> None:
    spread((colours((128, 100, 90), "brightness") - (128, 100, 90))[:, 0], 32, 1)


def test_contrast() -> None:
    views = colours((160, 80, 40), "contrast")
    spread(views[:, 0] / 160 - 1, 0.5, 1 / 160)
    np.testing.assert_allclose(views[:, 1] * 2, views[:, 0], atol=1.5)  # one factor for all


def test_saturation() -> None:
    for rgb in ((160, 100, 100), (60, 70, 160), (90, 150, 60)):
        luma = TO_YIQ[0] @ rgb
        views = colours(rgb, "saturation")
        np.testing.assert_allclose(views @ TO_YIQ[0], luma, atol=1)  # as bright as before
    views = colours((160, 100, 100), "saturation")
    spread((views[:, 0] - views[:, 1]) / 60 - 1, 0.5, 1 / 60)


def test_hue_is_a_small_turn() -> None:
    """GluonCV takes its +-18 degrees for half turns: pure red may become (26, 125, -190)."""
    rgb = np.array([180, 90, 90])
    views = colours((180, 90, 90), "hue")
    before, after = TO_YIQ @ rgb, views @ TO_YIQ.T
    np.testing.assert_allclose(after[:, 0], before[0], atol=1)
    length = np.hypot(after[:, 1], after[:, 2])
    np.testing.assert_allclose(length, np.hypot(*before[1:]), atol=1)
    turn = np.rad2deg(np.arctan2(after[:, 2], after[:, 1]) - np.arctan2(before[2], before[1]))
    assert np.abs(turn).max() < 19
    assert np.abs(turn).max() > 17
    assert (np.abs(turn) < 0.5).mean() == pytest.approx(0.5, abs=0.05)


def test_draws_of_colour_are_independent() -> None:
    """Each of the four at p = 0.5, so that one view in sixteen keeps its colours."""
    rgb = (150, 90, 60)
    views = colours(rgb, *RANGES, count=3000)
    share = (np.abs(views - rgb).max(axis=1) == 0).mean()
    assert share == pytest.approx(1 / 16, abs=0.02)


@pytest.mark.parametrize(
    ("parts", "changed"),
    [
        pytest.param(("colour", "expand", "crop", "flip"), set(), id="all"),
        pytest.param(
            ("crop", "flip"), {"colour_probability", "expand_probability"}, id="geometry of crops"
        ),
        pytest.param(
            ("colour",), {"expand_probability", "crop_overlaps", "flip_probability"}, id="colour"
        ),
    ],
)
def test_parts_of_it(parts: tuple[str, ...], changed: set[str]) -> None:
    made, whole = Augmentation.of(parts), Augmentation()
    assert made is not None
    names = {field.name for field in dataclasses.fields(Augmentation)}
    assert {name for name in names if getattr(made, name) != getattr(whole, name)} == changed


def test_no_part_is_no_augmentation() -> None:
    assert Augmentation.of(()) is None
    with pytest.raises(KeyError, match="crops"):
        Augmentation.of(("crops",))


@pytest.mark.parametrize("part", ["colour", "expand", "crop", "flip"])
def test_a_part_alone_does_what_it_is_called(part: str) -> None:
    """A picture of its own colour left and right, one box in its middle, fifty draws."""
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :20], image[:, 20:] = (200, 40, 40), (40, 40, 200)
    boxes = np.array([[0.4, 0.4, 0.7, 0.7]])
    augmentation = Augmentation.of((part,))
    assert augmentation is not None
    moved = coloured = mirrored = False
    sizes = []
    for seed in range(50):
        view, found, _ = augmentation(image, boxes, 40, np.random.default_rng(seed))
        known = np.abs(view[:, :, None].astype(int) - [(200, 40, 40), (40, 40, 200), FILL]) < 60
        coloured |= not known.all(-1).any(-1).mean() > 0.8
        mirrored |= bool(np.allclose(found, [[0.3, 0.4, 0.6, 0.7]]))
        sizes.append(found[0, 2] - found[0, 0] if len(found) else 0.3)
        moved |= not np.allclose(sizes[-1], 0.3)
    assert coloured == (part == "colour")
    assert mirrored == (part == "flip")
    assert moved == (part in {"expand", "crop"})
    if moved:
        assert (min(sizes) < 0.29) == (part == "expand")

"""Drawn scenes: repeatable, with boxes that are tight and lie in the picture."""

import os
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection import boxes
from sagemaker_object_detection.data import labels, recordio
from sagemaker_object_detection.data.class_names import AnnotatedNames, class_names
from sagemaker_object_detection.images import decode
from sagemaker_object_detection.tools import demo_data

SCENES = [demo_data.scene(5, number) for number in range(24)]


def test_a_scene_depends_on_seed_and_number_alone() -> None:
    first, again = demo_data.scene(3, 7), demo_data.scene(3, 7)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes_px, again.boxes_px)
    for other in (demo_data.scene(3, 8), demo_data.scene(4, 7)):
        assert not np.array_equal(first.image, other.image)


def test_boxes_lie_in_the_picture() -> None:
    for scene in SCENES:
        height, width = scene.image.shape[:2]
        assert scene.image.dtype == np.uint8
        assert len(scene.boxes_px) == len(scene.class_ids) >= 1
        np.testing.assert_array_equal(boxes.clip(scene.boxes_px, width, height), scene.boxes_px)
        assert not boxes.is_degenerate(scene.boxes_px).any()


def test_the_data_has_what_makes_it_a_task() -> None:
    """All classes, sizes from about 1/7 to 1/2, overlaps, and more than one size of picture."""
    assert {int(i) for scene in SCENES for i in scene.class_ids} == {0, 1, 2}
    assert len({scene.image.shape for scene in SCENES}) > 1
    longest = np.concatenate(
        [
            (s.boxes_px[:, 2:] - s.boxes_px[:, :2]).max(axis=1) / min(s.image.shape[:2])
            for s in SCENES
        ]
    )
    assert longest.min() < 0.2
    assert 0.4 < longest.max() <= 0.51
    overlaps = [np.triu(boxes.iou(s.boxes_px, s.boxes_px), 1).max() for s in SCENES]
    assert max(overlaps) > 0.1


@pytest.mark.parametrize("draw", demo_data._DRAW, ids=demo_data.CLASS_NAMES)
@pytest.mark.parametrize("side", [30, 61, 320])
def test_an_object_fills_its_square(draw: demo_data.Draw, side: int) -> None:
    """A box of the mask is the object's, so the mask has to reach about as far as was asked."""
    colours, mask = draw(np.random.default_rng(0), side)
    assert colours.shape == (side, side, 3)
    assert mask.shape == (side, side)
    left, top, right, bottom = demo_data._visible_box(mask > 0.5)
    assert max(right - left, bottom - top) >= 0.85 * side


def test_boxes_are_tight_around_what_is_seen() -> None:
    seen = np.zeros((10, 20), np.bool_)
    seen[3:7, 5:9] = True
    seen[4, 12] = True
    assert demo_data._visible_box(seen) == (5, 3, 13, 7)


def test_an_object_that_hides_too_much_is_not_placed() -> None:
    """A picture full of one object: no place for a second as large."""
    owner = np.zeros((50, 50), np.int8)
    mask = np.ones((50, 50), np.float32)
    generator = np.random.default_rng(0)
    places = [demo_data._find_place(generator, owner, mask, [2500.0]) for _ in range(5)]
    for place in places:
        if place is not None:
            inside, _ = demo_data._overlap(owner.shape, mask.shape, *place)
            assert owner[inside].size <= 0.6 * owner.size
    small = np.ones((10, 10), np.float32)
    assert demo_data._find_place(generator, owner, small, [2500.0]) is not None
    assert demo_data._find_place(generator, owner, small, [6300.0]) is None


def test_channels_are_packed_and_share_no_picture(tmp_path: Path) -> None:
    demo_data.write_channels(tmp_path, {"train": 3, "validation": 2}, seed=9)
    pictures = []
    for channel, count in (("train", 3), ("validation", 2)):
        index = recordio.scan(tmp_path / channel / f"{channel}.rec")
        assert len(index) == count
        names = class_names(
            (), {}, [tmp_path / channel], AnnotatedNames(), len(demo_data.CLASS_NAMES)
        )
        assert names == demo_data.CLASS_NAMES
        descriptor = os.open(index.path, os.O_RDONLY)
        for record in range(count):
            unpacked = recordio.unpack(recordio.read(descriptor, index, record), "a")
            label = labels.parse_label(unpacked.label, "a")
            drawn = demo_data.scene(9, len(pictures))
            height, width = decode(unpacked.image).shape[:2]
            assert (height, width) == drawn.image.shape[:2]
            np.testing.assert_allclose(
                boxes.to_px(label.boxes, width, height), drawn.boxes_px, atol=1e-3
            )
            np.testing.assert_array_equal(label.class_ids, drawn.class_ids)
            pictures.append(unpacked.image)
        os.close(descriptor)
    assert len(set(pictures)) == 5

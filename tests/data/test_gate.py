"""The gate: what is refused, what is dropped, what is mended, and that it is all reported."""

from __future__ import annotations

import errno
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.data import recordio
from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.gate import pass_gate
from sagemaker_object_detection.data.judge import Dropped, Verdict
from sagemaker_object_detection.data.sources import RecordIOSource
from sagemaker_object_detection.data.sources.image_pairs import ImageSource, json_pairs
from sagemaker_object_detection.data.tally import Limits, Tally
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.samples import (
    BOX,
    HEIGHT,
    JPEG,
    PNG,
    WIDTH,
    MemorySource,
    Sample,
    encode,
    plain,
    raw,
    write_images,
    write_records,
)
from tests.orientation import with_tag

NUM_CLASSES = 3
GOOD = Sample()
MakeSource = Callable[[Sequence[Sample]], Source]


@pytest.fixture(params=["recordio", "image"])
def make_source(request: pytest.FixtureRequest, tmp_path: Path) -> MakeSource:
    """Writes samples as one form's files and opens them."""
    train, notes = tmp_path / "train", tmp_path / "train_annotation"

    def make(samples: Sequence[Sample]) -> Source:
        if request.param == "recordio":
            return RecordIOSource([write_records(train / "a.rec", samples)])
        write_images(train, notes, samples)
        return ImageSource(json_pairs(train, notes))

    return make


def label_of(source: Source, index: int) -> str:
    """What is blamed for a wrong label: the file to correct."""
    return source.read(index).label_name or source.name(index)


def refused(source: Source, limits: Limits | None = None) -> list[str]:
    """Lines of the error."""
    with pytest.raises(ClientError) as caught:
        pass_gate("train", source, NUM_CLASSES, 2, limits)
    return str(caught.value).splitlines()


def test_what_passes_is_kept(make_source: MakeSource) -> None:
    boxes = [(0.0, 0.0, 1.0, 1.0), BOX]
    source = make_source([Sample(boxes=boxes, class_ids=[2, 0]), GOOD])
    dataset, report = pass_gate("train", source, NUM_CLASSES, 2)
    assert len(dataset) == 2
    np.testing.assert_allclose(dataset.labels(0)[0], boxes)
    assert dataset.labels(0)[1].tolist() == [2, 0]
    assert dataset.labels(1)[1].tolist() == [0]
    assert dataset.image(0) == PNG
    assert dataset.boxes.dtype == np.float32
    assert dataset.class_ids.dtype == np.int32
    assert dataset.difficult.dtype == np.bool_
    assert (report.images, report.boxes_kept, report.declared_boxes) == (2, 3, 3)
    assert report.boxes_per_class.tolist() == [2, 0, 1]
    assert (report.images_without_boxes, report.clipped, report.dropped) == (0, 0, [])
    assert report.label_width == 12
    assert report.sizes.tolist() == [[WIDTH, HEIGHT]] * 2
    assert report.digests[0] == report.digests[1] != 0


def test_an_image_without_boxes_is_a_valid_negative(make_source: MakeSource) -> None:
    source = make_source([GOOD, Sample(boxes=[], class_ids=[])])
    dataset, report = pass_gate("train", source, NUM_CLASSES, 1)
    assert dataset.labels(1)[0].shape == (0, 4)
    assert (report.images, report.images_without_boxes, report.dropped) == (2, 1, [])


def test_a_channel_may_hold_no_box_at_all(make_source: MakeSource) -> None:
    source = make_source([Sample(boxes=[], class_ids=[])])
    dataset, report = pass_gate("validation", source, 1, 1)
    assert dataset.boxes.shape == (0, 4)
    assert (report.boxes_kept, report.label_width) == (0, 2)
    assert refused(source)[0].startswith("The channel 'train' has 1 images and not one box")


@pytest.mark.parametrize(
    ("class_id", "fault", "reason"),
    [
        (3, "class_id 3 is not in 0..2. Correct the label, or set num_classes (now 3)", "too high"),
        (-2, "class_id -2 is not in 0..2.", "negative"),
        (-1, "class_id -1 is not in 0..2.", "padding has no area, this box has one"),
        (10**6, "class_id 1000000 is not in 0..2.", "an id of a data base"),
    ],
)
def test_class_id_out_of_range_is_refused(
    make_source: MakeSource, class_id: int, fault: str, reason: str
) -> None:
    source = make_source([GOOD, Sample(boxes=[BOX, BOX], class_ids=[0, class_id])])
    heading, line = refused(source)
    assert heading == "The channel 'train' has records that cannot be used (1 in all):"
    assert line.startswith(f"{label_of(source, 1)}: {fault}"), reason


def test_class_id_that_is_not_whole_is_refused(make_source: MakeSource, tmp_path: Path) -> None:
    source = make_source([GOOD, Sample(class_ids=[0.5])])
    _, line = refused(source)
    blamed = source.name(1) if isinstance(source, RecordIOSource) else "train_annotation/0001.json"
    assert f"{blamed}: " in line
    assert "0.5" in line


def test_every_known_class_passes(make_source: MakeSource) -> None:
    source = make_source([Sample(boxes=[BOX] * 3, class_ids=[0, 1, 2])])
    assert pass_gate("train", source, NUM_CLASSES, 1)[1].boxes_kept == 3


def test_unreadable_json_is_refused(tmp_path: Path) -> None:
    images, notes = tmp_path / "train", tmp_path / "train_annotation"
    write_images(images, notes, [GOOD] * 3)
    (notes / "0000.json").write_text('{"image_size": ')
    (notes / "0002.json").write_text('{"image_size": [{"width": 64, "height": 48}]}')
    heading, *lines = refused(ImageSource(json_pairs(images, notes)))
    assert "(2 in all)" in heading
    assert lines[0].startswith(f"{notes / '0000.json'}, line 1, column 16: not valid JSON")
    assert lines[1].startswith(f"{notes / '0002.json'}: annotations is missing")


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        pytest.param(
            struct.pack("<IfQQ", 0, 7, 0, 0) + PNG,
            "one number (7) as label: this is classification data",
            id="no detection label",
        ),
        pytest.param(recordio.pack([2, 4, 0, 0, 1, 1], 0, PNG), "object_width is 4", id="too few"),
        pytest.param(
            recordio.pack([2, 5, 0, 0, 0, 1], 0, PNG),
            "cannot be a header of 2",
            id="half an object",
        ),
        pytest.param(
            recordio.pack([2, 5, 0, 0, np.nan, 1, 1], 0, PNG), "[0, 0, nan", id="not a number"
        ),
        pytest.param(recordio.pack([2, 5], 0, b""), "no image bytes", id="no image"),
    ],
)
def test_record_that_is_no_detection_record_is_refused(
    tmp_path: Path, payload: bytes, fault: str
) -> None:
    with recordio.RecordIOWriter(tmp_path / "a.rec") as writer:
        writer.write(recordio.pack([2, 5, 0, *BOX], 0, PNG))
        writer.write(payload)
    source = RecordIOSource([tmp_path / "a.rec"])
    _, line = refused(source)
    assert line.startswith(f"{source.name(1)}: ")
    assert fault in line


def test_up_to_ten_offenders_are_listed(make_source: MakeSource) -> None:
    samples = [Sample(class_ids=[0 if number % 2 else 5]) for number in range(26)]
    source = make_source(samples)
    heading, *lines = refused(source)
    assert heading.endswith("(13 in all):")
    names = [label_of(source, number) for number in range(0, 20, 2)]
    assert [line.split(": class_id 5")[0] for line in lines[:10]] == names
    assert lines[10:] == ["... and 3 more."]


def test_faults_of_labels_count_before_drops(make_source: MakeSource) -> None:
    heading, line = refused(make_source([Sample(b"no image"), Sample(class_ids=[7])]))
    assert "records that cannot be used (1 in all)" in heading
    assert "class_id 7" in line


PARTS = [
    pytest.param(
        Sample(JPEG[: len(JPEG) // 2], suffix=".jpg"),
        "truncated",
        "is a JPEG that was cut short: its end marker is missing",
        id="half a JPEG decodes silently",
    ),
    pytest.param(
        Sample(PNG[: len(PNG) // 2]), "undecodable", "damaged or was cut", id="half a PNG"
    ),
    pytest.param(Sample(b"GIF89a or not"), "undecodable", "is a GIF, which", id="a GIF"),
    pytest.param(Sample(b"hello world"), "undecodable", "is not an image: it begins", id="text"),
]


@pytest.mark.parametrize(("bad", "reason", "detail"), PARTS)
def test_unusable_images_are_dropped(
    make_source: MakeSource, bad: Sample, reason: str, detail: str
) -> None:
    good = [replace(GOOD, class_ids=[i % 3]) for i in range(10)]
    source = make_source([*good[:4], bad, *good[4:]])
    dataset, report = pass_gate("train", source, NUM_CLASSES, 4)
    assert len(dataset) == report.images == report.boxes_kept == 10
    assert dataset.indices.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert dataset.class_ids.tolist() == [i % 3 for i in range(10)]
    (drop,) = report.dropped
    assert (drop.record, drop.reason) == (source.name(4), reason)
    assert detail in drop.detail


def test_an_empty_image_file_is_dropped(tmp_path: Path) -> None:
    """A record without image bytes is refused with its label, a file is no more than empty."""
    images, notes = tmp_path / "train", tmp_path / "train_annotation"
    write_images(images, notes, [GOOD] * 10 + [Sample(b"")])
    _, report = pass_gate("train", ImageSource(json_pairs(images, notes)), 1, 2)
    assert [drop.reason for drop in report.dropped] == ["undecodable"]
    assert report.dropped[0].detail == "it is empty (0 bytes)"


FRAMES = [
    # image, declared size, reason, dropped
    pytest.param(JPEG, (WIDTH, HEIGHT), None, False, id="the size of the image"),
    pytest.param(JPEG, None, None, False, id="none declared"),
    pytest.param(JPEG, (10 * WIDTH, 10 * HEIGHT), "resized", False, id="resized"),
    pytest.param(JPEG, (320, 242), "resized", False, id="resized and rounded, under 1 %"),
    pytest.param(JPEG, (320, 245), "other_size", True, id="2 % off"),
    pytest.param(JPEG, (HEIGHT, WIDTH), "swapped_size", True, id="swapped without a tag"),
    pytest.param(with_tag(JPEG, 6), (HEIGHT, WIDTH), "orientation", False, id="as displayed"),
    pytest.param(with_tag(JPEG, 6), (WIDTH, HEIGHT), "stored_size", True, id="as stored"),
    pytest.param(with_tag(JPEG, 6), None, "orientation", False, id="a tag, none declared"),
    pytest.param(
        with_tag(encode(np.zeros((50, 50, 3), np.uint8), ".jpg"), 6),
        (50, 50),
        "orientation",
        False,
        id="of a square it says nothing",
    ),
]


@pytest.mark.parametrize(("image", "declared", "reason", "dropped"), FRAMES)
def test_what_the_boxes_refer_to(
    image: bytes, declared: tuple[int, int] | None, reason: str | None, dropped: bool
) -> None:
    """One rule for every source and stream, since it is where all records pass."""
    scale = np.tile(declared, 2) if declared else 1
    odd = raw(image=image, boxes=np.array([BOX]) * scale, declared_size=declared)
    dataset, tally = pass_gate("train", MemorySource([raw()] * 9 + [odd]), 1, 1)
    assert dataset.indices.tolist() == [*range(9), *([] if dropped else [9])]
    assert [row.reason for row in tally.dropped] == ([reason] if dropped else [])
    noted = {row.reason: row.record for row in tally.noted}
    assert noted == ({} if dropped or reason is None else {reason: "record 9"})
    if not dropped:
        np.testing.assert_allclose(dataset.labels(9).boxes, [BOX], atol=1e-6)
    if declared and reason not in (None, "orientation"):
        (row,) = [*tally.dropped, *tally.noted]
        assert f"{declared[0]} x {declared[1]}" in row.detail


def test_many_images_of_another_size_refuse_the_channel() -> None:
    other = raw(boxes=[(1, 2, 30, 40)], declared_size=(400, 450))
    with pytest.raises(ClientError, match=r"(?s)other_size 2.*declared as 400 x 450"):
        pass_gate("train", MemorySource([raw()] * 9 + [other] * 2), 1, 1)


def test_unannotated_images_are_dropped() -> None:
    records = [raw()] * 9
    _, report = pass_gate("train", MemorySource(records, ["train/x.jpg"]), 1, 1)
    assert report.dropped == [
        Dropped("train/x.jpg", "no_annotation", "nothing annotates this image")
    ]
    assert report.images == 9


BOXES = [
    pytest.param((0.2, 0.2, 0.2, 0.6), "zero_area", id="no width"),
    pytest.param((0.2, 0.6, 0.4, 0.6), "zero_area", id="no height"),
    pytest.param((0.5, 0.5, 0.5, 0.5), "zero_area", id="a point"),
    pytest.param((0.8, 0.2, 0.4, 0.6), "zero_area", id="inverted, left and right"),
    pytest.param((0.2, 0.6, 0.4, 0.2), "zero_area", id="inverted, top and bottom"),
    pytest.param((0.8, 0.8, 0.2, 0.2), "zero_area", id="inverted both ways: a positive product"),
    pytest.param((1.25, 0.2, 1.5, 0.6), "outside", id="right of the image"),
    pytest.param((-0.5, 0.2, -0.25, 0.6), "outside", id="left of it"),
    pytest.param((0.2, -0.5, 0.6, -0.25), "outside", id="above"),
    pytest.param((0.2, 1.0, 0.6, 1.5), "outside", id="below, touching"),
    pytest.param((-0.5, -0.5, 0.0, 0.0), "outside", id="touching a corner"),
]


@pytest.mark.parametrize(("box", "reason"), BOXES)
def test_bad_boxes_are_dropped(
    make_source: MakeSource, box: tuple[float, ...], reason: str
) -> None:
    """The others of the image stay, with their classes."""
    boxes = [BOX] * 5 + [box] + [BOX] * 5
    source = make_source([Sample(boxes=boxes, class_ids=[0] * 5 + [1] + [2] * 5), GOOD])
    dataset, report = pass_gate("train", source, NUM_CLASSES, 1)
    assert dataset.labels(0)[1].tolist() == [0] * 5 + [2] * 5
    np.testing.assert_allclose(dataset.boxes, [BOX] * 11)
    (drop,) = report.dropped
    px = [round(value * side, 1) for value, side in zip(box, (WIDTH, HEIGHT) * 2, strict=True)]
    assert drop == Dropped(source.name(0), reason, f"box 5, class 1, {px} px")
    assert report.label_width == 2 + 5 * 11  # as declared: the service counts them too
    assert (report.clipped, report.images_without_boxes) == (0, 0)


def test_a_box_that_rounding_flattens_is_dropped() -> None:
    """The data set is float32: this box has an area before, and none after."""
    sliver = (0.5, 0.2, 0.5 + 1e-9, 0.6)
    _, report = pass_gate("train", MemorySource([raw(boxes=[BOX] * 9 + [sliver])]), 1, 1)
    assert report.boxes_kept == 9
    assert [drop.reason for drop in report.dropped] == ["zero_area"]


CLIPPED = [
    pytest.param((-0.25, 0.2, 0.5, 0.6), (0, 0.2, 0.5, 0.6), id="left"),
    pytest.param((0.5, 0.2, 3.0, 0.6), (0.5, 0.2, 1, 0.6), id="right"),
    pytest.param((0.2, -0.1, 0.5, 0.6), (0.2, 0, 0.5, 0.6), id="above"),
    pytest.param((0.2, 0.2, 0.5, 1.1), (0.2, 0.2, 0.5, 1), id="below"),
    pytest.param((-1.0, -1.0, 2.0, 2.0), (0, 0, 1, 1), id="all around"),
]


@pytest.mark.parametrize(("box", "expected"), CLIPPED)
def test_overhanging_boxes_are_clipped(
    make_source: MakeSource, box: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    source = make_source([Sample(boxes=[box, BOX], class_ids=[1, 0])])
    dataset, report = pass_gate("train", source, NUM_CLASSES, 1)
    np.testing.assert_allclose(dataset.boxes, [expected, BOX], atol=1e-7)
    assert (report.clipped, report.dropped) == (1, [])


def test_rounding_at_the_edge_is_no_overhang() -> None:
    _, report = pass_gate("train", MemorySource([raw(boxes=[(0, 0, 1 + 1e-7, 1 + 1e-7)])]), 1, 1)
    assert report.clipped == 0


@pytest.mark.parametrize(
    ("good", "bad", "passes", "reason"),
    [
        (9, 1, True, "exactly a tenth"),
        (19, 2, True, "less than a tenth"),
        (8, 1, False, "more than a tenth"),
        (0, 1, False, "all of them"),
    ],
)
def test_a_tenth_of_the_images_may_be_dropped(
    make_source: MakeSource, good: int, bad: int, passes: bool, reason: str
) -> None:
    source = make_source([GOOD] * good + [Sample(b"no image at all")] * bad)
    if passes:
        assert pass_gate("train", source, 1, 2)[1].images == good, reason
        return
    heading, line = refused(source)
    assert heading == (
        f"{bad} of {good + bad} images of the channel 'train' cannot be used, more than 10% "
        f"(undecodable {bad}). Fix or remove them, or allow more with the hyperparameter "
        f"max_dropped_images (--max-dropped-images of a command). They are ({bad} in all):"
    )
    assert line.startswith(f"{source.name(good)}: undecodable, it is not an image: it begins with")


@pytest.mark.parametrize(("limit", "shown"), [(0.0, "0%"), (0.005, "0.5%"), (0.07, "7%")])
def test_the_limit_is_shown_as_it_was_given(limit: float, shown: str) -> None:
    source = MemorySource([raw(), raw(b"no image")])
    assert f"more than {shown} (undecodable 1)" in refused(source, Limits(images=limit))[0]


@pytest.mark.parametrize(("good", "bad", "passes"), [(9, 1, True), (8, 1, False), (0, 1, False)])
def test_a_tenth_of_the_boxes_may_be_dropped(
    make_source: MakeSource, good: int, bad: int, passes: bool
) -> None:
    flat = (0.2, 0.2, 0.2, 0.4)
    source = make_source([GOOD] * good + [Sample(boxes=[flat])] * bad)
    if passes:
        report = pass_gate("train", source, 1, 2)[1]
        # The image stays: what is left of it is a picture without objects.
        assert (report.images, report.boxes_kept, report.images_without_boxes) == (10, 9, 1)
        return
    heading, line = refused(source)
    assert heading.startswith(f"{bad} of {good + bad} boxes of the channel 'train' cannot be used")
    assert "(zero_area 1)" in heading
    assert line.startswith(f"{source.name(good)}: zero_area, box 0, class 0")


def test_unannotated_images_count_for_the_limit() -> None:
    heading, *lines = refused(MemorySource([raw()] * 9, ["a.jpg", "b.jpg"]))
    assert heading.startswith("2 of 11 images of the channel 'train' cannot be used")
    assert "(no_annotation 2)" in heading
    assert [line.split(":")[0] for line in lines] == ["a.jpg", "b.jpg"]


def test_boxes_of_dropped_images_do_not_count_as_dropped_boxes() -> None:
    crowded = raw(b"no image", boxes=[BOX] * 50)
    _, report = pass_gate("train", MemorySource([raw()] * 9 + [crowded]), 1, 2)
    assert report.boxes_kept == 9


def test_a_refusal_lists_only_what_it_counts() -> None:
    """Boxes that were dropped as well do not push the images out of the list."""
    flat = raw(boxes=[(0.5, 0.5, 0.5, 0.6)] * 5 + [BOX] * 50)
    records = [flat] * 4 + [raw(b"no image")] * 3
    heading, *lines = refused(MemorySource(records))
    assert heading.startswith("3 of 7 images")
    assert "(undecodable 3)" in heading
    assert [line.split(":")[0] for line in lines] == ["record 4", "record 5", "record 6"]


def test_a_refusal_lists_ten_of_what_it_counts() -> None:
    heading, *lines = refused(MemorySource([raw(b"no image")] * 12))
    assert "(12 in all)" in heading
    assert len(lines) == 11
    assert lines[-1] == "... and 2 more."


def test_no_usable_image_is_refused() -> None:
    (line,) = refused(MemorySource([]))
    assert line.startswith("The channel 'train' holds no usable image: 0 records were read.")


def test_difficult_flags_go_with_their_boxes() -> None:
    flat = (0.5, 0.5, 0.5, 0.6)
    boxes = [BOX, flat, (0, 0, 0.5, 0.5), *[BOX] * 8]
    record = raw(boxes=boxes, difficult=[False, False, True, *[False] * 8])
    dataset, _ = pass_gate("train", MemorySource([record]), 1, 1)
    assert dataset.labels(0)[2].tolist() == [False, True, *[False] * 8]


def test_threads_change_nothing() -> None:
    generator = np.random.default_rng(0)
    records = []
    for i in range(60):
        corners = generator.uniform(-0.05, 1.0, (i % 5, 2))
        boxes = np.concatenate([corners, corners + 0.1], axis=1)
        records.append(raw(b"no image" if i == 7 else PNG, boxes, [i % 4] * len(boxes)))
    (one, report_one), (four, report_four) = (
        pass_gate("train", MemorySource(records), 4, threads) for threads in (1, 4)
    )
    assert report_one.dropped == report_four.dropped
    np.testing.assert_array_equal(report_one.digests, report_four.digests)
    np.testing.assert_array_equal(report_one.sizes, report_four.sizes)
    for name in ("indices", "offsets", "boxes", "class_ids", "difficult"):
        np.testing.assert_array_equal(getattr(one, name), getattr(four, name))


def test_an_error_that_is_not_the_user_s_stops_the_gate() -> None:
    """And the records that wait are not read any more."""
    read: list[int] = []

    class Vanishing(MemorySource):
        def read(self, index: int) -> RawRecord:
            read.append(index)
            if index == 0:
                raise PermissionError(errno.EACCES, "closed")
            return super().read(index)

    before = set(threading.enumerate())
    with pytest.raises(PermissionError, match="closed"):
        pass_gate("train", Vanishing([raw()] * 5000), 1, 1)
    assert len(read) < 5000
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("target", ["nowhere", "0001.png"], ids=["to nothing", "to itself"])
def test_a_file_that_is_gone_is_a_fault_of_the_record(target: str, tmp_path: Path) -> None:
    """As is a link that leads to none; the other faults are told with it."""
    images, notes = tmp_path / "train", tmp_path / "train_annotation"
    write_images(images, notes, [GOOD] * 3)
    source = ImageSource(json_pairs(images, notes))
    (images / "0001.png").unlink()
    (images / "0001.png").symlink_to(target)
    heading, line = refused(source)
    assert heading.endswith("cannot be used (1 in all):")
    assert line == f"{images / '0001.png'} does not exist, or is a link to nothing. Add the file."


@pytest.mark.parametrize("name", ["train/0001.png", "train_annotation/0001.json"])
def test_a_file_that_the_system_fails_to_read_is_named(name: str, tmp_path: Path) -> None:
    """As a network file system may; what fails by itself here is the memory of a process."""
    images, notes = tmp_path / "train", tmp_path / "train_annotation"
    write_images(images, notes, [GOOD] * 3)
    source = ImageSource(json_pairs(images, notes))
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as caught:
        pass_gate("train", source, NUM_CLASSES, 1)
    assert caught.value.filename == str(tmp_path / name)


def test_pixels_in_a_record_are_told_from_a_bad_box() -> None:
    """im2rec's lists want corners divided by the picture's sides; many forget it."""
    heading, line = refused(MemorySource([raw(boxes=[(60, 20, 63, 40)])]))
    assert "(outside 1)" in heading
    assert line == (
        "record 0: outside, box 0, class 0: corners [60, 20, 63, 40] are not in 0..1; pixels must "
        "be divided by the picture's width and height"
    )


@pytest.mark.parametrize(
    ("box", "declared", "kept", "reason"),
    [
        ((0.25, 0.5, 0.75, 1), (WIDTH, HEIGHT), False, "shares, as other formats have them"),
        ((0, 0, 1, 1), (WIDTH, HEIGHT), False, "the share of a whole picture"),
        ((-0.1, 0.5, 0.5, 1), (WIDTH, HEIGHT), False, "a share that overhangs"),
        ((0.25, 0.5, 1.25, 1), (WIDTH, HEIGHT), True, "beyond the first pixel"),
        ((0.25, 0.5, 0.75, 1), None, True, "RecordIO has shares"),
        ((0, 0, 1, 1), (1, HEIGHT), True, "a picture of one column"),
    ],
)
def test_shares_where_pixels_are_wanted(
    box: tuple[float, ...], declared: tuple[int, int] | None, kept: bool, reason: str
) -> None:
    """Trained on as pixels they would be specks in the corner, and nothing would be said."""
    image = plain((1, 2, 3), *(declared or (WIDTH, HEIGHT)))
    source = MemorySource([raw(image, boxes=[box], declared_size=declared)])
    if kept:
        assert pass_gate("train", source, 1, 1)[1].boxes_kept == 1, reason
        return
    heading, line = refused(source)
    assert "(not_in_pixels 1)" in heading, reason
    corners = ", ".join(f"{value:g}" for value in box)
    assert line == (
        f"record 0: not_in_pixels, box 0, class 0: corners [{corners}] are all within one pixel; "
        "shares of the picture's sides must be multiplied by its width and height"
    ), reason


@pytest.mark.parametrize(
    ("limits", "passes", "reason"),
    [
        (Limits(images=0.5, boxes=0.5), True, "both exactly reached"),
        (Limits(images=0.4, boxes=0.5), False, "too many images"),
        (Limits(images=0.5, boxes=0.4), False, "too many boxes"),
        (Limits(images=0.0, boxes=0.0), False, "nothing may be dropped"),
    ],
)
def test_limits_are_the_users(limits: Limits, passes: bool, reason: str) -> None:
    flat = (0.5, 0.5, 0.5, 0.6)
    source = MemorySource([raw(boxes=[BOX, flat]), raw(b"no image")])
    if passes:
        assert pass_gate("train", source, 1, 1, limits)[1].images == 1, reason
    else:
        assert refused(source, limits)


def test_few_records_wait_at_a_time() -> None:
    """However many there are: their pictures would fill the memory."""
    waiting = most = 0
    lock = threading.Lock()

    class Counting(MemorySource):
        def read(self, index: int) -> RawRecord:
            nonlocal waiting, most
            with lock:
                waiting += 1
                most = max(most, waiting)
            return super().read(index)

    add = Tally.add
    with pytest.MonkeyPatch.context() as patch:

        def counting_add(self: Tally, verdict: Verdict) -> None:
            nonlocal waiting
            with lock:
                waiting -= 1
            time.sleep(0.0001)
            add(self, verdict)

        patch.setattr(Tally, "add", counting_add)
        pass_gate("train", Counting([raw()] * 3000), 1, 2)
    assert 0 < most < 300


COORDINATE = st.one_of(
    st.floats(-0.5, 1.5, width=32), st.sampled_from([0.0, 1.0, 0.5, float(np.nextafter(0.5, 1))])
)
BOX_LISTS = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), max_size=6)


@settings(max_examples=150, deadline=None)
@given(lists=st.lists(BOX_LISTS, min_size=1, max_size=4), in_px=st.booleans())
def test_what_passes_is_always_valid(
    lists: list[list[tuple[float, float, float, float]]], in_px: bool
) -> None:
    """Every box of the data set has an area inside the image, every other is in the report."""
    scale = (3200, 2400, 3200, 2400) if in_px else (1, 1, 1, 1)
    declared = (3200, 2400) if in_px else None
    records = [
        raw(boxes=np.reshape(boxes, (-1, 4)) * scale, declared_size=declared) for boxes in lists
    ]
    dataset, report = pass_gate("validation", MemorySource(records), 1, 1, Limits(1.0, 1.0))
    assert len(dataset) == len(lists)
    assert ((dataset.boxes >= 0) & (dataset.boxes <= 1)).all()
    assert (dataset.boxes[:, :2] < dataset.boxes[:, 2:]).all()
    assert len(dataset.class_ids) == len(dataset.difficult) == len(dataset.boxes)
    assert dataset.offsets[-1] == len(dataset.boxes) == report.boxes_kept
    assert report.boxes_kept + len(report.dropped) == sum(map(len, lists))

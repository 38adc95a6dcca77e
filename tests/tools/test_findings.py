"""The report as a terminal shows it."""

import pytest

from sagemaker_object_detection.data.judge import Dropped
from sagemaker_object_detection.data.report import make_report
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.tools.findings import report_text
from sagemaker_object_detection.tools.output import printable
from tests.data.tallies import MIDDLE, checked, verdict

SPEC = get_spec("resnet-50", 300)


def test_all_that_it_can_show() -> None:
    drops = [Dropped(f"train/{i}.jpg", "zero_area", f"box {i}") for i in range(1007)]
    verdicts = [
        verdict([MIDDLE] * 3, [0, 0, 1], digest=5, dropped=drops, clipped=2),
        *(verdict([], size=(100 + i, 50), digest=5) for i in range(6)),
    ]
    validation = checked("validation", [verdict(digest=5)] * 7, 3)
    report = make_report([checked("train", verdicts, 3), validation], ("cell", "nut"), SPEC)
    text = report_text(report)
    first = text.split("\n\n")[0].splitlines()
    assert first == [
        "train",
        "  images         7, 6 of them without boxes",
        "  boxes          3, at most 1010 an image",
        "    cell  2   66.7%  ########################",
        "    nut   1   33.3%  ############",
        "    2     0    0.0%",
        "  image sizes    100 x 50 (1), 101 x 50 (1), 102 x 50 (1), 103 x 50 (1), 104 x 50 (1), "
        "...",
        "  box sizes      150 to 150 px of 300, the median is 150 (square root of the area)",
        "  anchors        0.0% of the boxes overlap none of resnet-50 at 300 by more than 0.5; "
        "such a box has its best anchor alone",
        "  copies         6 images, as train/0.jpg = train/1.jpg",
        "  clipped        2 boxes hung over the picture's edge",
        "  box dropped    1,007 zero_area: The box has no area: right is not larger than left, or "
        "bottom than top. Correct or remove the object.",
        *(f"    train/{i}.jpg: box {i}" for i in range(5)),
        "    ... and 1,002 more",
    ]
    assert text.rstrip().splitlines()[-7:] == [
        "LEAKAGE: 7 images of validation are in train too, byte for byte; scores come out too "
        "high. Remove them from one of the two.",
        *(f"  validation/{i}.jpg is train/0.jpg" for i in range(5)),
        "  ... and 2 more",
    ]


def test_nothing() -> None:
    text = report_text(make_report([checked("train", [])], (), SPEC))
    assert text.splitlines() == [
        "train",
        "  images         0, 0 of them without boxes",
        "  boxes          0, at most 0 an image",
        "    0  0",
        "  image sizes    -",
    ]


def test_many_classes_are_cut() -> None:
    report = make_report([checked("train", [verdict()], 100)], (), SPEC)
    assert "  and 70 more classes" in report_text(report)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("weiße Zelle\n白", "weiße Zelle\n白", id="any script"),
        pytest.param("a\x1b[31mb\rc\x00\x9bd", "a\\x1b[31mb\\x0dc\\x00\\x9bd", id="control"),
        pytest.param("caf\udce9", "caf\\udce9", id="no character"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown

"""What each kind of value reads and refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.platform.kinds import (
    AutoFlag,
    Choice,
    Flag,
    Kind,
    Pattern,
    Real,
    Whole,
)

POSITIVE = Whole(1)
RATE = Real(0, 1, low_in=False, high_in=True)
SHARE = Real(0, 1, low_in=True, high_in=False)
NETWORK = Choice(("vgg-16", "resnet-50"))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        pytest.param(POSITIVE, "16", 16, id="plain"),
        pytest.param(POSITIVE, "16.0", 16, id="tuning jobs send decimals"),
        pytest.param(POSITIVE, "16.", 16, id="bare point"),
        pytest.param(POSITIVE, "1e3", 1000, id="exponent"),
        pytest.param(POSITIVE, "+5", 5, id="sign"),
        pytest.param(POSITIVE, "007", 7, id="leading zeros"),
        pytest.param(POSITIVE, "9007199254740993", 9007199254740993, id="exact above 2**53"),
        pytest.param(Whole(0, 9), "0", 0, id="lower end"),
        pytest.param(Whole(0, 9), "9", 9, id="upper end"),
        pytest.param(RATE, "0.001", 0.001, id="decimal"),
        pytest.param(RATE, "1e-3", 0.001, id="exponent"),
        pytest.param(RATE, "1E-6", 1e-6, id="smallest rate that tuning tries"),
        pytest.param(RATE, ".5", 0.5, id="no leading zero"),
        pytest.param(RATE, "1", 1.0, id="upper end belongs to it"),
        pytest.param(RATE, "0.00123456789012345678", 0.0012345678901234568, id="many digits"),
        pytest.param(SHARE, "0", 0.0, id="lower end belongs to it"),
        pytest.param(SHARE, "0.999", 0.999, id="largest that tuning tries"),
        pytest.param(NETWORK, "resnet-50", "resnet-50", id="word"),
        pytest.param(NETWORK, "ResNet-50", "resnet-50", id="case does not matter"),
        pytest.param(Flag(), "True", True, id="as the SDK sends"),
        pytest.param(Flag(), "false", False, id="as the console sends"),
        pytest.param(Flag(), "1", True, id="digit"),
        pytest.param(Flag("1", "0"), "True", True, id="word for a digit"),
        pytest.param(Flag("1", "0"), "0.0", False, id="decimal for a digit"),
        pytest.param(Pattern(), "^(conv1_|conv2_).*", "^(conv1_|conv2_).*", id="pattern"),
        pytest.param(Pattern(), "false", "", id="the console sends this for none"),
        pytest.param(Pattern(), "None", "", id="str(None)"),
    ],
)
def test_reads(kind: Kind, text: str, value: object) -> None:
    parsed = kind.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        pytest.param(POSITIVE, "0", "too small", id="below the range"),
        pytest.param(POSITIVE, "-3", "too small", id="negative"),
        pytest.param(POSITIVE, "1.5", "not a whole number", id="fraction"),
        pytest.param(POSITIVE, "1e400", "not a whole number", id="infinite as a float"),
        pytest.param(POSITIVE, "abc", "not a number", id="word"),
        pytest.param(POSITIVE, "1_000", "not a number", id="Python's own spelling"),
        pytest.param(POSITIVE, "\u0663", "not a number", id="a digit that is not ASCII"),
        pytest.param(POSITIVE, "0x10", "not a number", id="hexadecimal"),
        pytest.param(POSITIVE, "True", "not a number", id="boolean"),
        pytest.param(Whole(0, 9), "10", "too large", id="above the range"),
        pytest.param(RATE, "0", "too small", id="open end"),
        pytest.param(RATE, "-0.0", "too small", id="minus zero is zero"),
        pytest.param(RATE, "1e-400", "too small", id="zero as a float"),
        pytest.param(RATE, "1.0000001", "too large", id="above the closed end"),
        pytest.param(RATE, "nan", "not a number", id="NaN would pass every comparison"),
        pytest.param(RATE, "inf", "not a number", id="infinity"),
        pytest.param(RATE, "0,1", "not a number", id="decimal comma"),
        pytest.param(SHARE, "1", "too large", id="open upper end"),
        pytest.param(NETWORK, "resnet50", "did you mean 'resnet-50'", id="near a known word"),
        pytest.param(NETWORK, "yolo", "is not known$", id="near none"),
        pytest.param(Flag(), "2", "neither", id="number"),
        pytest.param(Flag(), "maybe", "neither", id="word"),
        pytest.param(Pattern(), "conv(", "not a regular expression", id="unbalanced"),
    ],
)
def test_refuses(kind: Kind, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind.parse(text)


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        (POSITIVE, "a whole number >= 1"),
        (Whole(0, 9), "a whole number from 0 to 9"),
        (RATE, "a number > 0 and <= 1"),
        (SHARE, "a number >= 0 and < 1"),
        (NETWORK, "one of vgg-16, resnet-50"),
        (Flag("1", "0"), "1 or 0"),
    ],
)
def test_descriptions(kind: Kind, description: str) -> None:
    assert kind.description == description


@given(st.floats(min_value=0, max_value=1, exclude_min=True))
def test_a_number_survives_writing(value: float) -> None:
    assert RATE.parse(RATE.write(value)) == value


@given(
    st.text(),
    st.sampled_from([POSITIVE, RATE, NETWORK, Flag(), AutoFlag(), Pattern()]),
)
def test_any_text_is_read_or_refused_by_value_error(text: str, kind: Kind) -> None:
    try:
        value = kind.parse(text)
    except ValueError:
        return
    again = kind.write(value)
    assert (kind.parse(again) if again else value) == value

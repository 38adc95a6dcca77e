"""What each kind of list reads and refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.platform.kinds import Epochs, Kind, Names, Subset

AUGMENTED = Subset(("crop", "flip"))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        pytest.param(Epochs(), "10, 20", (10, 20), id="with a space"),
        pytest.param(Epochs(), "10,20", (10, 20), id="without"),
        pytest.param(Epochs(), "3", (3,), id="one"),
        pytest.param(Epochs(), "3.0", (3,), id="decimal"),
        pytest.param(Epochs(), "[10, 20]", (10, 20), id="JSON list as text"),
        pytest.param(Epochs(), "[]", (), id="empty list"),
        pytest.param(Names(), "cat, dog", ("cat", "dog"), id="names"),
        pytest.param(Names(), "sea lion", ("sea lion",), id="one name with a space"),
        pytest.param(Names(), '["a, b", "c"]', ("a, b", "c"), id="a comma in a JSON list"),
        pytest.param(Names(), "[a,b]", ("a", "b"), id="a list of a hand-written file"),
        pytest.param(Names(), "\"cat\", 'dog'", ("cat", "dog"), id="names in quotes"),
        pytest.param(Names(), "['cat', \"a dog's\"]", ("cat", "a dog's"), id="a list of the SDK"),
        pytest.param(AUGMENTED, "['flip', 'crop']", ("crop", "flip"), id="a list of the SDK"),
        pytest.param(AUGMENTED, '["flip"]', ("flip",), id="JSON list as text"),
        pytest.param(AUGMENTED, "[]", (), id="empty list"),
        pytest.param(
            Names(), "rock 'n' roll, 12\"", ("rock 'n' roll", '12"'), id="quotes in names"
        ),
    ],
)
def test_reads(kind: Kind, text: str, value: object) -> None:
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        pytest.param(Epochs(), "20,10", "10 follows 20", id="descending"),
        pytest.param(Epochs(), "10,10", "10 follows 10", id="twice would drop twice"),
        pytest.param(Epochs(), "10,", "holds '', which is not a number", id="trailing comma"),
        pytest.param(Epochs(), "0", "too small", id="epoch 0 would never have had the rate"),
        pytest.param(Epochs(), "10;20", "not a number", id="semicolon"),
        pytest.param(Names(), "a,,b", "not a name", id="empty name"),
        pytest.param(Names(), "[1, 2]", "not a name", id="numbers"),
        pytest.param(Names(), "a,b,a", "holds 'a' twice", id="one name for two classes"),
        pytest.param(AUGMENTED, "flip,", "is not known", id="trailing comma"),
    ],
)
def test_refuses(kind: Kind, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind.parse(text)


@given(st.sets(st.integers(min_value=1)).map(lambda epochs: tuple(sorted(epochs))))
def test_epochs_survive_writing(value: tuple[int, ...]) -> None:
    text = Epochs().write(value)
    assert (Epochs().parse(text) if text else ()) == value


@given(
    st.lists(
        st.text(min_size=1).map(str.strip).filter(bool),
        min_size=1,
        unique=True,
    )
)
def test_names_survive_writing(names: list[str]) -> None:
    assert Names().parse(Names().write(tuple(names)).strip()) == tuple(names)


@given(st.text(), st.sampled_from([AUGMENTED, Epochs(), Names()]))
def test_any_text_is_read_or_refused_by_value_error(text: str, kind: Kind) -> None:
    try:
        value = kind.parse(text)
    except ValueError:
        return
    again = kind.write(value)
    assert (kind.parse(again) if again else ()) == value

"""Names in little memory: as the strings they were, and found again by a key."""

from __future__ import annotations

import os
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data import names as names_module
from sagemaker_object_detection.data.names import Chosen, Lookup, Names
from tests.data.memory import measured

Form = Literal["NFC", "NFD"]
ANY_TEXT = st.text(st.characters(codec=None), max_size=8)


@given(st.lists(ANY_TEXT, max_size=20))
def test_names_are_the_strings_they_were_made_of(strings: list[str]) -> None:
    names = Names(iter(strings))
    assert list(names) == strings
    assert len(names) == len(strings)
    assert [names[index] for index in range(-len(strings), 0)] == strings
    assert list(names[1:-1]) == strings[1:-1]


def test_a_name_that_is_not_text() -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert Names([name])[0] == name
    assert os.fsencode(Names([name])[0]) == b"caf\xe9.jpg"


@given(st.lists(ANY_TEXT, max_size=20))
def test_names_in_order_are_the_sorted_strings(strings: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names_module, "_RUN", 3)  # so that there are several runs to be merged
        assert list(Names.in_order(iter(strings))) == sorted(strings)


def test_chosen_names_are_in_the_order_of_their_places() -> None:
    chosen = Chosen(Names("abcd"), iter([3, 0, 0]))
    assert list(chosen) == ["d", "a", "a"]
    assert (len(chosen), chosen[-1], list(chosen[:2])) == (3, "a", ["d", "a"])


@pytest.mark.parametrize("index", [2, -3])
def test_there_is_no_name_beyond_the_ends(index: int) -> None:
    with pytest.raises(IndexError):
        Names(["a", "b"])[index]


@given(st.lists(st.text("ab/", max_size=4), max_size=30), st.text("ab/", max_size=4))
def test_lookup_finds_what_a_scan_finds(strings: list[str], wanted: str) -> None:
    def key(name: str) -> str:
        return name.rpartition("/")[2]

    found = list(Lookup(Names(strings), key).find(wanted))
    assert found == [place for place, name in enumerate(strings) if key(name) == wanted]


@pytest.mark.parametrize("there", ["NFC", "NFD"])
@pytest.mark.parametrize("wanted", ["NFC", "NFD"])
def test_letters_are_found_however_they_are_composed(there: Form, wanted: Form) -> None:
    names = ["plain", *(unicodedata.normalize(there, name) for name in ("café", "カップ", "cafe"))]
    lookup = Lookup(Names(names), str)
    for place, name in enumerate(("café", "カップ", "cafe"), 1):
        assert list(lookup.find(unicodedata.normalize(wanted, name))) == [place]


def test_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "hash", len, raising=False)
    lookup = Lookup(["aa", "bb", "c", "aa"], str)
    assert (list(lookup.find("aa")), list(lookup.find("cc"))) == ([0, 3], [])


def test_memory_of_putting_names_in_order() -> None:
    """Never more than the names twice, and some of them as strings."""
    count = 10 * names_module._RUN
    names, _, peak = measured(
        lambda: Names.in_order(f"{number:020}" for number in range(count, 0, -1))
    )
    assert names[0] == f"{1:020}"
    assert peak < 2 * count * (20 + 4) * 1.15 + 200 * names_module._RUN


def test_memory_of_a_name() -> None:
    names, size, _ = measured(lambda: Names(f"{number:020}" for number in range(10_000)))
    lookup, more, _ = measured(lambda: Lookup(names, str))
    assert next(lookup.find(names[77])) == 77
    assert size < 10_000 * (20 + 4) * 1.15
    assert more < 10_000 * 12 * 1.15

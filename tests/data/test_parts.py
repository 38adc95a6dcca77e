"""Several sources as one, and parts of a source: what is split off, and that nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from sagemaker_object_detection.data.class_names import AnnotatedNames
from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.sources.parts import Joined, Part, split_off
from tests.data.samples import raw


class Words(Source):
    """Records whose images are words and whose class ids are their places."""

    def __init__(self, label: str, words: str) -> None:
        self._label = label
        self._words = words.split()
        self.listed_names = tuple(f"class {n}" for n in range(len(self._words)))

    @property
    def found_names(self) -> AnnotatedNames:
        return AnnotatedNames({(0, self._label): f"{self._label}.json"}, f"{self._label} misfits")

    @property
    def unannotated(self) -> Sequence[str]:
        return (f"{self._label}/lonely.jpg",)

    @property
    def remarks(self) -> Sequence[str]:
        return (f"{self._label} was read.",)

    def __len__(self) -> int:
        return len(self._words)

    def name(self, index: int) -> str:
        return f"{self._label}/{self._words[index]}.jpg"

    def image_name(self, index: int) -> str:
        return f"{self._words[index]}.jpg"

    def read(self, index: int) -> RawRecord:
        return raw(self.read_image(index), class_ids=[index])

    def read_image(self, index: int) -> bytes:
        return self._words[index].encode()


def numbered(count: int) -> Words:
    return Words("x", " ".join(map(str, range(count))))


def words(source: Source) -> list[str]:
    return [source.read_image(index).decode() for index in range(len(source))]


def test_joined() -> None:
    joined = Joined([Words("a", "p q"), Words("b", ""), Words("c", "r"), Words("d", "")])
    assert (len(joined), words(joined)) == (3, ["p", "q", "r"])
    assert [joined.name(n) for n in range(3)] == ["a/p.jpg", "a/q.jpg", "c/r.jpg"]
    assert [joined.image_name(n) for n in range(3)] == ["p.jpg", "q.jpg", "r.jpg"]
    records = [joined.read(n) for n in range(3)]
    assert [record.image for record in records] == [b"p", b"q", b"r"]
    assert [record.class_ids.tolist() for record in records] == [[0], [1], [0]]


def test_what_joined_sources_report() -> None:
    joined = Joined([Words("a", "p"), Words("b", "")])
    assert joined.unannotated == ["a/lonely.jpg", "b/lonely.jpg"]
    assert joined.remarks == ["a was read.", "b was read."]
    assert joined.found_names.places == {(0, "a"): "a.json", (0, "b"): "b.json"}
    assert joined.found_names.misfit == "a misfits"


def test_part() -> None:
    part = Part(Words("a", "p q r s"), [3, 1])
    assert (len(part), words(part)) == (2, ["s", "q"])
    assert [part.name(n) for n in range(2)] == ["a/s.jpg", "a/q.jpg"]
    assert [part.image_name(n) for n in range(2)] == ["s.jpg", "q.jpg"]
    assert [part.read(n).image for n in range(2)] == [b"s", b"q"]
    assert [part.read(n).class_ids.tolist() for n in range(2)] == [[3], [1]]
    assert part.listed_names == ("class 0", "class 1", "class 2", "class 3")
    assert part.found_names.places == {(0, "a"): "a.json"}
    assert (part.unannotated, part.remarks) == ((), ())


SHARES = [
    pytest.param(10, 0.2, 2, id="a fifth"),
    pytest.param(10, 0.26, 3, id="rounded up"),
    pytest.param(10, 0.24, 2, id="rounded down"),
    pytest.param(10, 0.001, 1, id="one at least"),
    pytest.param(10, 0, 0, id="none is asked for"),
    pytest.param(10, 1, 10, id="all"),
    pytest.param(0, 0.5, 0, id="of nothing"),
]


@pytest.mark.parametrize(("count", "share", "expected"), SHARES)
def test_share(count: int, share: float, expected: int) -> None:
    rest, taken = split_off(numbered(count), share, seed=3)
    assert (len(rest), len(taken)) == (count - expected, expected)
    both = [[int(word) for word in words(part)] for part in (rest, taken)]
    assert both == [sorted(both[0]), sorted(both[1])]
    assert sorted(both[0] + both[1]) == list(range(count))


def test_each_image_is_reported_once() -> None:
    rest, taken = split_off(numbered(8), 0.5, seed=0)
    assert (rest.unannotated, taken.unannotated) == (("x/lonely.jpg",), ())
    assert (rest.remarks, taken.remarks) == (("x was read.",), ())
    assert rest.listed_names == taken.listed_names == numbered(8).listed_names


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 10**40])
def test_images_and_seed_alone_decide(seed: int) -> None:
    """Neither the order nor the names of the files do, which differ between machines."""
    forward, backward = numbered(40), Words("y", " ".join(map(str, reversed(range(40)))))
    taken = words(split_off(forward, 0.25, seed)[1])
    assert taken == words(split_off(forward, 0.25, seed)[1])
    assert sorted(taken) == sorted(words(split_off(backward, 0.25, seed)[1]))
    assert taken != words(split_off(forward, 0.25, seed + 1)[1])


def test_every_image_can_be_chosen() -> None:
    counts = Counter(
        w for seed in range(200) for w in words(split_off(numbered(20), 0.25, seed)[1])
    )
    assert len(counts) == 20
    assert 25 < min(counts.values()) <= max(counts.values()) < 80


@pytest.mark.parametrize(
    ("images", "share", "sizes"),
    [
        pytest.param("a b a c d b e f g h", 0.3, {3}, id="copies fit"),
        pytest.param("a a a a a a a a b c", 0.2, {2}, id="those that do not fit are not taken"),
        pytest.param("a a b b c c d d e e", 0.3, {2}, id="less, rather than copies apart"),
        pytest.param("a a a a", 0.5, {0}, id="nothing but copies"),
    ],
)
def test_identical_images_stay_together(images: str, share: float, sizes: set[int]) -> None:
    found = set()
    for seed in range(30):
        rest, taken = split_off(Words("a", images), share, seed)
        assert not set(words(rest)) & set(words(taken))
        assert sorted(words(rest) + words(taken)) == sorted(images.split())
        found.add(len(taken))
    assert found == sizes

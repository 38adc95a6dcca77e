"""How classes are numbered and named, and what is refused rather than guessed."""

from collections.abc import Mapping, Sequence

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.class_table import ClassTable
from sagemaker_object_detection.tools.formats.record import ClassKey
from tests.tools.split import MemorySplit

CAT_DOG = {0: {"cat"}, 1: {"dog"}}


def ordered(*names: str) -> MemorySplit:
    return MemorySplit([], class_order=names)


def numbered(names: Mapping[int, set[str]]) -> MemorySplit:
    return MemorySplit([], class_names=names)


TABLES = [
    pytest.param(
        ["dog", "cat"], [ordered()], None, "cat dog", [1, 0], id="by name, without an order: sorted"
    ),
    pytest.param(
        ["cat"], [ordered("dog", "cow", "cat")], None, "dog cow cat", [2], id="the order of a split"
    ),
    pytest.param(
        ["cat"],
        [ordered("dog"), ordered("dog", "cat")],
        None,
        "dog cat",
        [1],
        id="one split lists more classes than the other",
    ),
    pytest.param(
        ["cat"],
        [ordered("dog", "cat"), ordered("cat", "dog")],
        None,
        "cat dog",
        [0],
        id="splits number their classes differently: sorted",
    ),
    pytest.param(
        ["dog", "cat"], [ordered("dog", "cat")], "cat cow dog", "cat cow dog", [2, 0], id="given"
    ),
    pytest.param([1], [numbered(CAT_DOG)], None, "cat dog", [1], id="by number, with names"),
    pytest.param(
        [11, 2],
        [numbered({})],
        None,
        " ".join(f"class_{n}" for n in range(12)),
        [11, 2],
        id="by number, without names: numbers stay, gaps too",
    ),
    pytest.param(
        [0], [numbered({2: {"cow"}})], None, "class_0 class_1 cow", [0], id="a class without boxes"
    ),
    pytest.param(
        [1],
        [numbered({0: {"cat"}}), numbered({1: {"dog "}})],
        None,
        "cat dog",
        [1],
        id="each split names some of them",
    ),
    pytest.param(
        [0, 1], [numbered(CAT_DOG)], "dog cat", "dog cat", [1, 0], id="names given in another order"
    ),
    pytest.param(
        [1, 0], [numbered({})], "dog cat cow", "dog cat cow", [1, 0], id="names given for numbers"
    ),
    pytest.param(
        [0], [numbered({0: {"cat", "dog"}})], "cow", "cow", [0], id="given where the data disagree"
    ),
    pytest.param([0], [numbered({-1: {"background"}})], None, "class_0", [0], id="named below 0"),
    pytest.param([], [ordered()], None, "", [], id="no boxes at all"),
]


@pytest.mark.parametrize(("keys", "splits", "given", "names", "ids"), TABLES)
def test_numbering(
    keys: Sequence[ClassKey],
    splits: Sequence[MemorySplit],
    given: str | None,
    names: str,
    ids: Sequence[int],
) -> None:
    counts = dict.fromkeys(keys, 1)
    table = ClassTable.build(counts, splits, given.split() if given else None)
    assert table.names == tuple(names.split())
    assert [table.ids[key] for key in keys] == list(ids)
    assert table.text().split() == names.split()


FAULTS = [
    pytest.param(
        ["dog"], ordered(), ["cat", "cow"], r"'dog' has 3 boxes but is not among the", id="unlisted"
    ),
    pytest.param(
        [2], numbered({}), ["cat", "cow"], r"'class_2' has 3 boxes but is not", id="number unlisted"
    ),
    pytest.param(["cat"], ordered(), ["cat", "cat"], r"'cat' is listed 2 times", id="given twice"),
    pytest.param(
        [0],
        numbered({0: {"dog", "cat"}}),
        None,
        r"Class id 0 is called 'cat' and 'dog'\. Give --classes",
        id="two names for a number",
    ),
    pytest.param(
        [0], numbered({0: {"x"}, 2: {"x"}}), None, r"0, 2 are all called 'x'\. Give", id="shared"
    ),
    pytest.param(
        [0, 1],
        numbered({1: {"dog"}}),
        ["dog", "cat"],
        r"ids 0, 1 would all be 'dog' by the names in the data and by --classes",
        id="the given order is not the data's",
    ),
    pytest.param(
        [0], numbered({0: {"a\nb"}}), None, r"'a\\nb' cannot be a line of text", id="two lines"
    ),
    pytest.param(
        ["\ud800"], ordered("\ud800"), None, r"'\\ud800' cannot be a line", id="half a character"
    ),
    pytest.param(
        [0], numbered({10_000: {"x"}}), None, r"Class id 10000 is used or named", id="a stray id"
    ),
]


@pytest.mark.parametrize(("keys", "split", "given", "what"), FAULTS)
def test_faults(
    keys: Sequence[ClassKey], split: MemorySplit, given: Sequence[str] | None, what: str
) -> None:
    with pytest.raises(ClientError, match=what):
        ClassTable.build(dict.fromkeys(keys, 3), [split], given)

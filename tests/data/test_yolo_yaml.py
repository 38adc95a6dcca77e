"""data.yaml: the forms in the wild that are read, and everything else refused by its line."""

from pathlib import Path

import pytest

from sagemaker_object_detection.data.sources.yolo_yaml import find_config, parse_config
from sagemaker_object_detection.platform.errors import ClientError

ULTRALYTICS = """\
# Ultralytics: COCO8 (first 8 images)
path: ../datasets/coco8 # dataset root dir
train: images/train # 4 images
val: images/val
test: # optional

# Classes
names:
  0: person
  1: 'driver''s seat'  # quoted
  2: "t\\u00fcr #2"

# Download script/URL (optional)
download: |
  from ultralytics.utils.downloads import download
  names: [not, these]
"""
ROBOFLOW = """\
train: ../train/images
val: ../valid/images
test: ../test/images

nc: 2
names: ['cat', 'dog, or so']

roboflow:
  workspace: x
  version: 1
"""


def parse(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_as_ultralytics_writes_it(tmp_path: Path) -> None:
    config = parse_config(parse(tmp_path, ULTRALYTICS))
    assert config.root == "../datasets/coco8"
    assert config.splits == {"train": ("images/train",), "val": ("images/val",)}
    assert config.names == ("person", "driver's seat", "tür #2")


def test_as_roboflow_writes_it(tmp_path: Path) -> None:
    config = parse_config(parse(tmp_path, ROBOFLOW))
    assert config.names == ("cat", "dog, or so")
    assert config.splits["val"] == ("../valid/images",)
    assert config.root is None


NAMES = [
    pytest.param("names: [a, 'b', \"c\"]", id="brackets"),
    pytest.param("names: [a,\n  b,\n  c,\n]\nnc: 3", id="brackets over several lines"),
    pytest.param("names: ['a', 'b',\n'c']", id="brackets, the second line at the margin"),
    pytest.param("names:\n- a\n- b\n- c", id="list at the margin"),
    pytest.param("names:\n  - 'a'\n\n  # then\n  - \"b\"\n  - c", id="list with a comment"),
    pytest.param("names:\n  2: c\n  0: a\n  1: b", id="mapping in any order"),
    pytest.param("names: {0: a, 1: 'b', 2: c}", id="mapping in braces"),
    pytest.param("names: {0: a,\n  1: b,\n  2: c}", id="braces over several lines"),
    pytest.param("---\n'names': [a, b, c]\n...", id="quoted key, document marks"),
    pytest.param("\ufeffnames: [a, b, c]", id="byte order mark"),
    pytest.param("names:\r\n  - a\r\n  - b\r\n  - c\r\n", id="Windows line ends"),
    pytest.param("'0': x\nnames:\n  '0': a\n  \"1\": b\n  2: c", id="quoted class ids"),
]


@pytest.mark.parametrize("text", NAMES)
def test_names(tmp_path: Path, text: str) -> None:
    assert parse_config(parse(tmp_path, text)).names == ("a", "b", "c")


WORDS = [
    pytest.param("traffic light", "traffic light", id="space"),
    pytest.param("c#", "c#", id="hash inside of a word"),
    pytest.param("a:b", "a:b", id="colon inside of a word"),
    pytest.param("driver's seat", "driver's seat", id="apostrophe inside of a word"),
    pytest.param("no", "no", id="no is a word here"),
    pytest.param("12", "12", id="number"),
    pytest.param('"a: [b]"', "a: [b]", id="quoted brackets"),
    pytest.param("'#1'", "#1", id="quoted hash"),
]


@pytest.mark.parametrize("form", ["names: [{}, x]", "names:\n- {}\n- x", "names:\n  0: {}\n  1: x"])
@pytest.mark.parametrize(("word", "expected"), WORDS)
def test_words(tmp_path: Path, form: str, word: str, expected: str) -> None:
    assert parse_config(parse(tmp_path, form.format(word))).names == (expected, "x")


def test_several_places_for_a_split(tmp_path: Path) -> None:
    config = parse_config(parse(tmp_path, "train: [a/images, b/images]\nval:\n  - c.txt\n"))
    assert config.splits == {"train": ("a/images", "b/images"), "val": ("c.txt",)}
    assert config.names == ()


FAULTS = [
    pytest.param("names: cat", "names is 'cat'. Write it as names:", id="one word"),
    pytest.param("names: [a, [b]]", r"names holds something else than words", id="nested"),
    pytest.param(
        "names: [a, b", r"line 1: cannot be read as YAML: expected ',' or '\]'", id="open"
    ),
    pytest.param(
        "names: [a] b",
        r"line 1: cannot be read as YAML: expected <block end>",
        id="more behind the bracket",
    ),
    pytest.param(
        "names: [a, , b]",
        r"line 1: cannot be read as YAML: .* found ','",
        id="nothing between commas",
    ),
    pytest.param(
        "names: {0: a, b}", r"names has a class id that is no number", id="brace without a value"
    ),
    pytest.param(
        "names: ['a, b]",
        r"line 1: cannot be read as YAML: found unexpected end",
        id="open quotation mark",
    ),
    pytest.param("names:\n- a\nb", r"line 3: cannot be read as YAML", id="no dash"),
    pytest.param("names:\n  0: a\n  b", r"line 3: cannot be read as YAML", id="no class id"),
    pytest.param(
        "names:\n  - 'a", r"line 2: cannot be read as YAML: found unexpected end", id="open word"
    ),
    pytest.param(
        "names:\n  - a: b", r"names holds something else than words", id="mapping in a list"
    ),
    pytest.param('names:\n  - "\\q"', r"line 2: .* unknown escape character 'q'", id="escape"),
    pytest.param("names:\n  0: a\n  2: b", r"2 entries but none for class id 1", id="gap"),
    pytest.param("names:\n  x: a", r"names has a class id that is no number.*'x'", id="no number"),
    pytest.param(
        "names:\n  0: a\n  0: b",
        r"line 3: .*the key '0' is there for the second time",
        id="id twice",
    ),
    pytest.param(
        "names: {0: a, 0: b}",
        r"line 1: .*the key '0' is there for the second time",
        id="id twice in braces",
    ),
    pytest.param(
        "names: [a]\nnames: [b]", r"line 2: .*the key 'names' is there for the second", id="twice"
    ),
    pytest.param("nc: 3\nnames: [a, b]", r"nc is 3, but names has 2 entries", id="count"),
    pytest.param("path: [a]", r"path is \['a'\], it must be one folder", id="path"),
    pytest.param(
        "train: {a: b}", r"train is \{'a': 'b'\}, it must be a folder or a list", id="map"
    ),
    pytest.param("- a\n- b", r"holds no mapping of names to values", id="a list"),
    pytest.param("names: |\n  a", r"names is 'a'", id="block of text"),
]


@pytest.mark.parametrize(("text", "what"), FAULTS)
def test_faults(tmp_path: Path, text: str, what: str) -> None:
    path = parse(tmp_path, text)
    with pytest.raises(ClientError, match=what) as caught:
        parse_config(path)
    assert str(path) in str(caught.value)


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_bytes(b"names: [caf\xe9]")
    with pytest.raises(ClientError, match=r"data\.yaml: byte 11 is not UTF-8"):
        find_config(tmp_path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        pytest.param([], None, id="none"),
        pytest.param(["coco8.yml"], "coco8.yml", id="the only one"),
        pytest.param(["coco8.yaml", "data.yaml", "hyp.yaml"], "data.yaml", id="by its name"),
    ],
)
def test_which_file(tmp_path: Path, names: list[str], found: str | None) -> None:
    for name in names:
        (tmp_path / name).write_text("train: a")
    config = find_config(tmp_path)
    assert (None if config is None else config.file.name) == found


def test_no_telling_which_file(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text("train: a")
    with pytest.raises(ClientError, match=r"several YAML files \(a\.yaml, b\.yml\)\. Call the one"):
        find_config(tmp_path)

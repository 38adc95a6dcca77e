"""docs/errors.md is current, and whole."""

import re
from pathlib import Path

import pytest

from sagemaker_object_detection.data.reasons import REASONS
from sagemaker_object_detection.tools.error_texts import error_texts
from sagemaker_object_detection.tools.errors_document import (
    SOURCE,
    document,
    outcomes_of,
)
from sagemaker_object_detection.tools.syntax import Package

PACKAGE = Package(SOURCE)
PAGE = document()


def test_the_document_is_current() -> None:
    file = Path(__file__).parents[2] / "docs" / "errors.md"
    assert file.read_text(encoding="utf-8") == PAGE, (
        "python -m sagemaker_object_detection.tools.errors_document > docs/errors.md"
    )


def test_tables_are_well_formed() -> None:
    rows = [line.replace("\\|", "") for line in PAGE.splitlines() if line.startswith("|")]
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        assert len({row.replace("\\|", "").count("|") for row in block.splitlines()}) == 1
    assert len(rows) > len(REASONS) + 10


def test_every_exit_code_and_reason_is_there() -> None:
    for row in ("| 0 |", "| 1 | `AlgorithmError`", "| 2 | `ClientError`", "| 3 | `PlatformError`"):
        assert row in PAGE
    for name, reason in REASONS.items():
        assert f"| `{name}` | {reason.text} |" in PAGE


def test_every_kind_of_message_has_an_outcome() -> None:
    assert {row.kind for row in error_texts(PACKAGE)} <= set(outcomes_of(PACKAGE))


KNOWN = [
    ("- 2: `Missing required channel: <name>. Add it to the job's input channels.`", "a fault"),
    ("- 2: `<name>: byte <start> is not UTF-8 text. Save the file as UTF-8 JSON.`", "a subclass"),
    ("- 3: `A worker died while it loaded the model.", "the platform's"),
    ("- 1: `Training logged no mAP.", "ours"),
    ("- HTTP 400: `the body of the request is empty`", "the endpoint's"),
    ("- HTTP 400, or *left out*: `<name> is empty (0 bytes)`", "an image"),
    ("- *left out*: `the annotation says <height> x <width>", "a row of the report"),
    ("- 2: `<path> is missing; give the unpacked model.tar.gz", "an artefact"),
    ("The channel '<channel>' holds no usable image", "the gate"),
]


@pytest.mark.parametrize(("line", "kind"), KNOWN, ids=[kind for _, kind in KNOWN])
def test_known_messages_are_there(line: str, kind: str) -> None:
    assert line in PAGE, kind


def test_few_messages_are_only_values() -> None:
    """A message of nothing but values tells that its text was not found."""
    empty = [row for row in error_texts(PACKAGE) if not re.sub(r"<[^>]*>|\W", "", row.text)]
    assert [row.text for row in empty] == ["<what>[: <names>]. <cure>"]


def test_no_message_holds_code() -> None:
    for row in error_texts(PACKAGE):
        assert not re.search(r"\{[a-z_]+\}|\x00|\x01|\x02", row.text), row


def test_every_text_that_is_raised_is_found() -> None:
    """Counted another way: by how the source reads."""
    found = {row.text for row in error_texts(PACKAGE)}
    raised = re.compile(r'raise (?:\w+\.)?(?!Value|Runtime|Type)\w+Error\(\s*f?"([^"{}\\]{20,})')
    seen = 0
    for path in sorted(SOURCE.rglob("*.py")):
        for sentence in raised.findall(path.read_text(encoding="utf-8")):
            seen += 1
            assert any(sentence.strip() in text for text in found), (path.name, sentence)
    assert seen > 10

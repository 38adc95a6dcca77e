"""docs/errors.md: how a job ends, what the gate does, and every message there is.

python -m sagemaker_object_detection.tools.errors_document > docs/errors.md
"""

from __future__ import annotations

import ast
import errno
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from sagemaker_object_detection.data.reasons import REASONS
from sagemaker_object_detection.platform.errors import (
    FAILURE_LIMIT,
    INTERRUPTED,
    AlgorithmError,
    ClientError,
    JobError,
    PlatformError,
    as_job_error,
)
from sagemaker_object_detection.tools.error_texts import (
    DROPPED,
    USAGES,
    ErrorText,
    error_classes,
    error_texts,
)
from sagemaker_object_detection.tools.syntax import Package, last_name

SOURCE = Path(__file__).parents[1]

_KINDS: tuple[type[JobError], ...] = (ClientError, AlgorithmError, PlatformError)
_LAYERS = (
    *("platform", "data", "images", "model", "inference", "evaluation"),
    *("training", "serving", "tools"),
)
_POLICIES = {
    "refused": "the job ends before training, exit code 2",
    "image dropped": "the image is left out",
    "box dropped": "the box is left out, its image stays",
    "box changed": "the box is cut off at the edge",
}


def document() -> str:
    """The page, Markdown."""
    package = Package(SOURCE)
    return "\n".join([*_endings(), *_gate(), *_messages(package)]) + "\n"


def _endings() -> Iterator[str]:
    yield from (
        "# Errors",
        "",
        "Made from the code by `python -m sagemaker_object_detection.tools.errors_document`.",
        "",
        "Every message names what is wrong (the file, the line or the number of the record, the",
        "value) and the way to mend it. Several faults come together, numbered, one a line.",
        "",
        "## How a job ends",
        "",
        "A training job that fails writes the kind of the failure and its text to",
        f"`/opt/ml/output/failure`, of which SageMaker shows the first {FAILURE_LIMIT} characters,",
        "and ends with its exit code. The endpoint, when it cannot start, and the commands of",
        "`object-detection` end with the same codes and write to stderr.",
        "",
        "| exit code | kind | meaning |",
        "|---|---|---|",
        "| 0 | | It succeeded, or was told to stop and has saved what it had. |",
    )
    for kind in sorted(_KINDS, key=lambda kind: kind.exit_code):
        meaning = (kind.__doc__ or "").splitlines()[0]
        yield f"| {kind.exit_code} | `{kind.label}` | {_cell(meaning)} |"
    yield f"| {INTERRUPTED} | | Ctrl-C. |"
    yield from (
        "",
        "Errors of the operating system become a `PlatformError` when they mean:",
        "",
        "| | cure |",
        "|---|---|",
    )
    for what, cure in dict.fromkeys(_platform_errors()):
        yield f"| {_cell(what)} | {_cell(cure)} |"


def _platform_errors() -> Iterator[tuple[str, str]]:
    for code in sorted(errno.errorcode):
        error = as_job_error(OSError(code, ""))
        if isinstance(error, PlatformError):
            what, _, cure = str(error).partition(". ")
            yield what, cure


def _gate() -> Iterator[str]:
    yield from (
        "",
        "## What the gate does",
        "",
        "Every record passes the gate once: in File mode all of them before training, in Pipe mode",
        "each as it comes. The names are those of `data_report.json` and `data_report.html` in",
        "`/opt/ml/output/data`. When more than `max_dropped_images` of a channel's images or",
        "`max_dropped_boxes` of its boxes are left out, the job ends with exit code 2.",
        "",
        "| name | what is wrong | what becomes of it | cure |",
        "|---|---|---|---|",
    )
    for name, reason in REASONS.items():
        policy = _POLICIES[reason.policy]
        yield f"| `{name}` | {_cell(reason.text)} | {policy} | {_cell(reason.cure)} |"


def _messages(package: Package) -> Iterator[str]:
    yield from (
        "",
        "## Messages",
        "",
        "By what they are about. `<name>` stands for a value of the case at hand, `[text]` for",
        "what is there in some cases only, `(one | other)` for either. A number is the exit code,",
        "HTTP the status of the endpoint's answer; *left out* is a row of the report, *passed",
        "over* a checkpoint, with a warning, for which an older one is taken.",
    )
    outcomes = outcomes_of(package)
    rows = sorted(error_texts(package), key=lambda row: _place(row.module))
    for module, texts in groupby(rows, key=lambda row: row.module):
        yield from ("", f"### {package.modules[module].title}", "")
        yield from sorted({_line(row, outcomes): None for row in texts}, key=_by_outcome)


def _place(module: str) -> tuple[int, str]:
    layer = module.partition(".")[0]
    return (_LAYERS.index(layer) if layer in _LAYERS else len(_LAYERS)), module


def _line(row: ErrorText, outcomes: Mapping[str, str]) -> str:
    fence = "``" if "`" in row.text else "`"
    pad = " " if len(fence) > 1 else ""
    return f"- {outcomes[row.kind]}: {fence}{pad}{row.text}{pad}{fence}"


def _by_outcome(line: str) -> str:
    return line.partition(":")[0]


def outcomes_of(package: Package) -> dict[str, str]:
    """What a message of each kind leads to; classes that hold no message for users are left out."""
    bases = error_classes(package)
    codes = {kind.__name__: str(kind.exit_code) for kind in _KINDS}
    statuses = _statuses(package)
    outcomes = {DROPPED: "*left out*", **dict.fromkeys(USAGES, str(ClientError.exit_code))}
    for name in bases:
        kind: str | None = name
        while kind is not None and kind not in codes:
            kind = bases.get(kind)
        if kind is not None:
            outcomes[name] = codes[kind]
        elif name in statuses:
            outcomes[name] = f"HTTP {statuses[name]}"
    outcomes["UnusableCheckpoint"] = "*passed over*"
    outcomes["ArtifactError"] = codes["ClientError"]
    outcomes["ImageError"] += ", or *left out*"
    return outcomes


def _statuses(package: Package) -> dict[str, int]:
    """Exception -> status, from the endpoint's table, which cannot be imported from here."""
    table = package.modules["serving.answers"].constants["ANSWERS"]
    assert isinstance(table, ast.Dict)
    statuses = {}
    for kind, answer in zip(table.keys, table.values, strict=True):
        assert kind is not None
        assert isinstance(answer, ast.Tuple)
        statuses[last_name(kind)] = ast.literal_eval(answer.elts[0])
    return statuses


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(document(), end="")

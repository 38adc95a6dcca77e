"""What the Dockerfile copies is there and let through, and its last stage builds nothing."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from image import DEVICES

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
STAGES = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.M)[1:]


def _copied() -> list[str]:
    """Sources of COPY out of the checkout, for every device."""
    instructions = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
    sources = [source for words in instructions for source in words.split()[:-1]]
    return sorted({source.replace("${DEVICE}", device) for source in sources for device in DEVICES})


def test_the_base_is_an_argument() -> None:
    assert DOCKERFILE.index("ARG BASE_IMAGE=debian:bookworm-slim") < DOCKERFILE.index("FROM ")
    assert STAGES[0].startswith("FROM ${BASE_IMAGE} AS base")


@pytest.mark.parametrize("source", _copied())
def test_what_is_copied_is_there_and_not_ignored(source: str) -> None:
    files = sorted(REPOSITORY.glob(source))
    assert files
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    let_through = [line[1:] for line in lines if line.startswith("!")]
    for file in files:
        path = str(file.relative_to(REPOSITORY))
        assert any(fnmatch(path, one) or path.startswith(f"{one}/") for one in let_through)


def test_the_last_stage_begins_with_what_runs_the_program() -> None:
    assert STAGES[-1].startswith("FROM base\n")
    assert "apt-get" not in STAGES[-1]
    assert "/pip" not in STAGES[-1]


def test_everything_is_installed_by_hash_from_wheels() -> None:
    """But the project itself, which is what lies here and fetches nothing."""
    installs = re.findall(r"install .+", DOCKERFILE)
    from_index = [line for line in installs if "requirements.txt" in line]
    assert len(from_index) == 1
    assert {"--require-hashes", "--no-deps", "--no-cache-dir"} <= set(from_index[0].split())
    ours = [line for line in installs if line.rstrip().endswith(" .")]
    assert len(ours) == 1
    assert "--no-index" in ours[0]


def test_signals_reach_the_program() -> None:
    assert "ENTRYPOINT" not in DOCKERFILE
    assert 'CMD ["serve"]' in STAGES[-1]


@pytest.mark.parametrize("capability", ["accept-bind-to-port", "multi-models"])
def test_the_platform_is_told_what_the_image_can(capability: str) -> None:
    [label] = re.findall(r"^LABEL (.+)$", STAGES[-1], re.M)
    assert f"com.amazonaws.sagemaker.capabilities.{capability}=true" in label.split()

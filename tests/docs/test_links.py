"""Links of the documents lead somewhere, and every document is led to."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _documents() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    names = listed.stdout.split() or [
        *(path.name for path in REPOSITORY.glob("*.md")),
        *(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("docs/**/*.md")),
    ]
    return [REPOSITORY / name for name in names]


DOCUMENTS = _documents()


def _text(document: Path) -> str:
    """Without blocks and pieces of code, which have brackets of their own."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def _links(document: Path) -> list[tuple[Path, str]]:
    """(file, anchor) of each link that stays in the repository."""
    found = []
    for target in LINK.findall(_text(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found.append(((document.parent / path).resolve() if path else document, anchor))
    return found


def _anchors(document: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for path, anchor in _links(document):
        assert path.exists(), f"{document.name} links {path.relative_to(REPOSITORY)}"
        if anchor:
            assert anchor in _anchors(path), f"{document.name} links #{anchor} of {path.name}"


def test_every_document_is_reached_from_the_readme() -> None:
    readme = REPOSITORY / "README.md"
    reached, coming = {readme}, [readme]
    while coming:
        for path, _ in _links(coming.pop()):
            if path.suffix == ".md" and path not in reached:
                reached.add(path)
                coming.append(path)
    assert reached >= set(DOCUMENTS), sorted(str(path) for path in set(DOCUMENTS) - reached)

"""Licences out of CycloneDX components, and the list of them in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sbom import licence, licence_table, replace_table

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        pytest.param([{"license": {"id": "MIT"}}], "MIT", id="an identifier"),
        pytest.param([{"expression": "MIT OR BSD-3-Clause"}], "MIT OR BSD-3-Clause", id="terms"),
        pytest.param(
            [{"license": {"name": "License :: OSI Approved"}}, {"license": {"id": "MIT"}}],
            "MIT",
            id="a classifier says less",
        ),
        pytest.param(
            [{"license": {"name": "word " * 100}}, {"license": {"name": "BSD"}}],
            "BSD",
            id="the whole text is no name",
        ),
        pytest.param([], "", id="none"),
    ],
)
def test_licence(declared: list[dict[str, Any]], expected: str) -> None:
    assert licence({"name": "something", "licenses": declared}) == expected


def test_table_tells_which_image_has_what() -> None:
    def component(name: str, version: str = "1") -> dict[str, Any]:
        return {"name": name, "version": version, "purl": f"pkg:pypi/{name.lower()}@{version}"}

    debian = {"name": "libc6", "version": "2", "purl": "pkg:deb/debian/libc6@2"}
    boms = {
        "cpu": {"components": [component("Flask"), component("mxnet"), debian]},
        "gpu": {"components": [component("Flask"), component("mxnet-cu112"), debian]},
    }
    assert licence_table(boms).splitlines()[2:] == [
        "| flask | 1 |  | cpu, gpu |",
        "| mxnet | 1 |  | cpu |",
        "| mxnet-cu112 | 1 |  | gpu |",
    ]


def test_a_table_is_replaced_where_it_stands(tmp_path: Path) -> None:
    document = tmp_path / "licences.md"
    document.write_text("# Title\n\n| old |\n|---|\n| row |\n\nAfter.\n")
    replace_table(document, "| new |\n|---|")
    assert document.read_text() == "# Title\n\n| new |\n|---|\n\nAfter.\n"


def test_every_locked_package_is_in_the_list_with_a_licence() -> None:
    text = (REPOSITORY / "docs/licences.md").read_text()
    listed = {
        (name, version): licence
        for name, version, licence in re.findall(r"^\| (\S+) \| (\S+) \| (.*?) \|", text, re.M)
    }
    for device in ("cpu", "gpu"):
        lock = (REPOSITORY / f"container/requirements-{device}.txt").read_text()
        for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, re.M):
            assert listed.get((name, version)), f"{name} {version}: make sbom lists it"

"""What is in the images: a CycloneDX list of each, the licences of both, and known weaknesses.

    container/sbom.py --tool docker --to build/sbom --licences docs/licences.md cpu gpu

Runs in an environment with container/requirements-sbom.txt; the images have to be there. Python
packages are described by cyclonedx-py from the metadata that the image itself holds, so Horovod,
which no lock names, is among them; Debian's packages are what dpkg says. The check against known
weaknesses needs no network and knows what was public by July 2021: SECURITY.md has one that
knows today's.
"""

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from image_tool import Tool
from image_trials import SITE

_DEBIAN = "dpkg-query -W -f '${Package} ${Version} ${Architecture}\\n'"
# Packages whose metadata names no licence or another one than the licence's text in them.
BY_TEXT = {
    "nvidia-nccl-cu11": "BSD-3-Clause",
    "onnx": "Apache-2.0",
    "protobuf": "BSD-3-Clause",
    "pycocotools": "BSD-2-Clause",
}

Component = dict[str, Any]


def list_python(tool: Tool, folder: Path) -> dict[str, Any]:
    """CycloneDX of the image's Python packages, by way of an environment of their metadata."""
    venv.create(folder, clear=True, symlinks=True, with_pip=False)
    copied = folder / "lib/python3.11/site-packages"
    tool.ask(["sh", "-c", f"cp -r {SITE}/*.dist-info /copied/"], ["-v", f"{copied}:/copied"])
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--spec-version", "1.6", str(folder)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    bom: dict[str, Any] = json.loads(listed.stdout)
    return bom


def list_debian(tool: Tool) -> list[Component]:
    """CycloneDX components of the image's Debian packages."""
    rows = (line.split() for line in tool.ask(["sh", "-c", _DEBIAN]).splitlines())
    return [
        {
            "bom-ref": f"debian:{name}",
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{version}?arch={architecture}&distro=bookworm",
        }
        for name, version, architecture in sorted(rows)
    ]


def licence(component: Mapping[str, Any]) -> str:
    """The licence that a component declares, by identifier or name."""
    known = BY_TEXT.get(component["name"].lower())
    if known:
        return known
    found = [
        entry.get("expression") or entry["license"].get("id") or entry["license"].get("name", "")
        for entry in component.get("licenses", [])
    ]
    # Some declare the whole text where a name belongs.
    names = [" ".join(name.split()) for name in found if len(name) < 60]
    exact = [name for name in names if "::" not in name]
    return ", ".join(dict.fromkeys(exact or [name.rpartition(" :: ")[2] for name in names]))


def licence_table(boms: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: every Python package of the images with version, licence and which image has it."""
    images: dict[tuple[str, str, str], list[str]] = {}
    for device, bom in boms.items():
        for component in bom["components"]:
            if not component.get("purl", "").startswith("pkg:deb/"):
                name = re.sub("[-_.]+", "-", component["name"].lower())
                row = (name, component["version"], licence(component))
                images.setdefault(row, []).append(device)
    rows = [
        f"| {name} | {version} | {text} | {', '.join(devices)} |"
        for (name, version, text), devices in sorted(images.items())
    ]
    return "\n".join(["| package | version | licence | image |", "|---|---|---|---|", *rows])


def known_weaknesses(components: Iterable[Mapping[str, Any]]) -> list[str]:
    """What safety-db has about these Python packages, a line each."""
    from packaging.specifiers import SpecifierSet

    # Not by importing it: it opens its files in the current folder.
    found = importlib.metadata.distribution("safety-db").locate_file("safety_db")
    entries = json.loads(Path(str(found), "insecure_full.json").read_text())
    return [
        f"{component['name']} {component['version']}: {entry['cve'] or entry['id']}"
        for component in components
        for entry in entries.get(component["name"].lower(), [])
        if any(component["version"] in SpecifierSet(spec) for spec in entry["specs"])
    ]


def replace_table(document: Path, table: str) -> None:
    """Put a new table where the document has its old one."""
    lines = document.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("|")]
    place = next(number for number, line in enumerate(lines) if line.startswith("|"))
    document.write_text("\n".join([*kept[:place], table, *kept[place:]]) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tool", default="docker")
    parser.add_argument("--to", type=Path, default=Path("build/sbom"))
    parser.add_argument("--licences", type=Path, required=True)
    parser.add_argument("devices", nargs="+", choices=["cpu", "gpu"])
    options = parser.parse_args(arguments)
    options.to.mkdir(parents=True, exist_ok=True)
    boms: dict[str, dict[str, Any]] = {}
    for device in options.devices:
        tool = Tool(options.tool, f"sagemaker-object-detection:{device}")
        bom = list_python(tool, options.to.resolve() / f"packages-{device}")
        found = known_weaknesses(bom["components"])
        bom["components"] += list_debian(tool)
        boms[device] = bom
        file = options.to / f"sagemaker-object-detection-{device}.cdx.json"
        file.write_text(json.dumps(bom, indent=2) + "\n")
        print(f"{file}: {len(bom['components'])} components; known by July 2021: {found or 'none'}")
    replace_table(options.licences, licence_table(boms))


if __name__ == "__main__":
    main()

"""The control groups that a process is in, which limit what it may use of the machine."""

from collections.abc import Iterator
from pathlib import Path


def folders(controller: str, root: Path) -> Iterator[Path]:
    """Folders that may hold a limit of a controller, such as cpu: those of version 2 and of
    version 1, each the process's own group and the groups around it.

    Inside a container the path of the group may be the host's and lead nowhere: then only the
    mount's root is there to be read. root: where /sys and /proc are looked for.
    """
    mount = root / "sys" / "fs" / "cgroup"
    for line in text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        bases = (mount / controllers, mount / controller) if controllers else (mount,)
        for base in bases:
            inside = base / path.lstrip("/")
            yield inside
            yield from (p for p in inside.parents if p == base or base in p.parents)


def text(file: Path) -> str:
    """A small file's text, stripped; empty when the system does not have or show it."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""

"""Programs that stand in for docker and aws: they keep what they are called with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

_PROGRAM = """#!{python} -IS
import json, os, signal, sys, time
folder, name, words = {folder!r}, os.path.basename(sys.argv[0]), sys.argv[1:]
call = {{"program": name, "arguments": words}}
if "--password-stdin" in words:
    call["input"] = sys.stdin.read()
with open(folder + "/calls", "a") as calls:
    calls.write(json.dumps(call) + "\\n")
if {runs!r} and words[0] == "run":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    open(folder + "/runs", "w").close()
    time.sleep(60)
with open(folder + "/answers.json") as answers:
    known = json.load(answers)
code, text = known.get(" ".join([name, *words[:2]]), [0, ""])
print(text, end="", file=sys.stderr if code else sys.stdout)
sys.exit(code)
"""


@dataclass
class Programs:
    """A folder of such programs.

    answers: exit code and text by the program and its first two words; otherwise 0 and nothing.
    runs: whether `run` goes on until SIGTERM, and then ends with 7.
    """

    folder: Path
    answers: Mapping[str, tuple[int, str]]
    runs: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        text = _PROGRAM.format(python=sys.executable, folder=str(self.folder), runs=self.runs)
        for name in ("aws", "docker"):
            program = self.folder / name
            program.write_text(text)
            program.chmod(0o755)

    def start(self, script: str, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        """Start a script of the repository that finds these programs."""
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("AWS_")}
        return subprocess.Popen(
            [REPOSITORY / script, *(str(argument) for argument in arguments)],
            env=inherited | {"PATH": f"{self.folder}:{os.environ['PATH']}"} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, script: str, *arguments: object, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        process = self.start(script, *arguments, **environ)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What was called, in order."""
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def lines(self) -> list[str]:
        """The calls as command lines."""
        return [" ".join([call["program"], *call["arguments"]]) for call in self.calls]

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from sagemaker_object_detection.platform.orphans import fork


def _run(script: str) -> str:
    """What a process prints that may adopt others and kill its children."""
    head = "from sagemaker_object_detection.platform.orphans import *\nimport os, sys, time\n"
    command = [sys.executable, "-c", head + textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("lambda: 7", 7, id="what the function returns"),
        pytest.param("lambda: sys.exit(3)", 3, id="its exit"),
        pytest.param("lambda: sys.exit('text')", 1, id="an exit with a text"),
        pytest.param("lambda: 1 / 0", 1, id="an exception"),
    ],
)
def test_exit_code(script: str, code: int) -> None:
    printed = _run(f"print(os.waitstatus_to_exitcode(os.waitpid(fork({script}), 0)[1]))")
    assert printed.split() == [str(code)]


def test_what_is_printed_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    number = fork(lambda: print("from the child") or 0)  # type: ignore[func-returns-value]
    os.waitpid(number, 0)
    assert capfd.readouterr().out == "from the child\n"


def test_all_descendants_are_killed() -> None:
    """Those too whose parent ended before, or by the kill."""
    printed = _run(
        """
        reading, writing = os.pipe()

        def grow(depth):
            os.write(writing, b"x")
            if depth and os.fork() == 0:
                grow(depth - 1)
            time.sleep(0 if depth == 1 else 60)
            return 0

        adopt_orphans()
        fork(lambda: grow(3))
        for _ in range(4):
            os.read(reading, 1)
        time.sleep(0.2)
        kill_children()
        os.close(writing)
        print(os.read(reading, 1))  # nobody has the other end any more
        """
    )
    assert printed == "b''\n"

"""A process that a supervisor has started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sagemaker_object_detection.platform.errors import PlatformError


@dataclass(frozen=True)
class Child:
    """A process in a session of its own, so that Ctrl-C reaches the supervisor alone.

    Attributes:
        name: what to call it in messages.
    """

    name: str
    process: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        descriptor: int | None = None,
    ) -> Child:
        """Start it; of this process's descriptors it keeps the one that is given."""
        process = subprocess.Popen(
            command,
            env=dict(environ),
            pass_fds=() if descriptor is None else (descriptor,),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        return cls(name, process)

    @property
    def end(self) -> PlatformError | None:
        """How it ended, which it should not have; None where it still runs."""
        code = self.process.poll()
        if code is None:
            return None
        if code >= 0:
            return PlatformError(f"{self.name} ended with exit code {code}. Look into its log.")
        number = -code
        name = signal.Signals(number).name
        hint = (
            " If nobody killed it, the machine ran out of memory: use a smaller mini_batch_size or "
            "image_shape, or an instance with more memory."
            if number == signal.SIGKILL
            else ""
        )
        return PlatformError(f"{self.name} was ended by signal {number} ({name}).{hint}")

    def stands_still(self) -> bool:
        """Whether somebody has stopped it (SIGSTOP, a debugger)."""
        with suppress(OSError):
            stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
            return stat.rpartition(")")[2].split()[0] in ("T", "t")
        return False

    def kill(self) -> None:
        """With all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

"""The three kinds of failure of a job, and the one place of a process where they are caught.

SageMaker reads two things when a container ends: the exit code (0 is success, anything else a
failure) and the first 1024 characters of `/opt/ml/output/failure`, which it shows as the reason.
"""

import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

log = logging.getLogger(__name__)

FAILURE_LIMIT = 1024
"""Characters of the failure file that SageMaker shows."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""


_LONGEST_LINE = 1500
_KEPT_END = 400


def _shortened(line: str) -> str:
    """A line without its middle where it repeats a value of the input that is absurdly long."""
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[: _LONGEST_LINE - _KEPT_END]} [...] {line[-_KEPT_END:]}"


class JobError(Exception):
    """A failure whose text is meant for the user: one or more faults, each with its cure.

    Every argument is one fault, a sentence or two that names the file, the record, the value and
    the way to mend it. Several faults are numbered, one a line, so that the first line alone is
    useful already.
    """

    exit_code: ClassVar[int] = 1
    label: ClassVar[str] = "AlgorithmError"

    def __init__(self, *faults: str) -> None:
        if not faults:
            raise ValueError(f"{type(self).__name__} needs at least one fault")
        self.faults = tuple("\n".join(map(_shortened, fault.split("\n"))) for fault in faults)
        super().__init__(*self.faults)

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0]
        count = len(self.faults)
        return "\n".join(f"[{i}/{count}] {fault}" for i, fault in enumerate(self.faults, 1))


class ClientError(JobError):
    """The user can mend it: a hyperparameter, a channel, the data."""

    exit_code = 2
    label = "ClientError"


class AlgorithmError(JobError):
    """A fault of this program."""

    exit_code = 1
    label = "AlgorithmError"


class PlatformError(JobError):
    """A fault of the machine or the service around us: disk, permissions, network."""

    exit_code = 3
    label = "PlatformError"


_DISK_FULL = "Free some space there, or ask for a larger volume (VolumeSizeInGB)."
_FORBIDDEN = (
    "Check the owner and the mode of that path, and the user that the container runs as; "
    "/opt/ml/model, /opt/ml/output and /opt/ml/checkpoints must be writable."
)
_BROKEN = (
    "The disk or the network file system failed: start the job again, on another instance if it "
    "repeats."
)
_CURES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("No space left on the device", _DISK_FULL),
    errno.EDQUOT: ("The disk quota is used up", _DISK_FULL),
    errno.EACCES: ("Permission denied", _FORBIDDEN),
    errno.EPERM: ("Operation not permitted", _FORBIDDEN),
    errno.EROFS: (
        "The file system is read-only",
        "Mount it writable; only the input channels and the model of an endpoint may be read-only.",
    ),
    errno.EIO: ("Input/output error", _BROKEN),
    errno.ESTALE: ("A file of the network file system is gone", _BROKEN),
    errno.ENOTCONN: ("The mounted file system is not connected", _BROKEN),
    # Of FUSE, as in FastFile mode: what serves the mount has ended while it was asked.
    errno.ECONNABORTED: ("The mounted file system has gone away", _BROKEN),
    # Of Lustre (FSx): its server has cut this machine off.
    errno.ESHUTDOWN: ("The network file system has cut this machine off", _BROKEN),
    errno.EMFILE: (
        "Too many open files",
        "Raise the limit, as in docker run --ulimit nofile=65536.",
    ),
}
_MORE_MEMORY = "Use a smaller mini_batch_size or image_shape, or an instance with more memory."
_NO_MEMORY = re.compile(r"Failed to allocate CPU Memory|: out of memory|_STATUS_ALLOC_FAILED")
"""What MXNet, CUDA, cuBLAS and cuDNN say in an MXNetError, which has nothing but its text."""


def as_job_error(error: BaseException) -> JobError:
    """Give any exception the kind of failure it is; a JobError is returned as it is.

    Operating-system errors that speak of disk, permission or hardware are the platform's. Lack of
    memory is the user's (a smaller batch mends it), and so is a link that leads nowhere. Everything
    else is ours.
    """
    if isinstance(error, JobError):
        return error
    text = str(error).strip()
    if lacks_memory(error):
        told = first_line(error)
        return ClientError(f"Out of memory{f' ({told})' if text else ''}. {_MORE_MEMORY}")
    if isinstance(error, OSError):
        if error.errno in _CURES:
            what, cure = _CURES[error.errno]
            return PlatformError(f"{what}{_place(error)}. {cure}")
        if error.errno in (errno.ENOENT, errno.ELOOP) and _is_path(error.filename):
            path = Path(os.fsdecode(error.filename))
            if is_dead_link(path):
                return ClientError(dead_link(path))
    name = type(error).__name__
    return AlgorithmError(
        f"{name}: {text or 'no further text'}. This is a fault of the program; please report it "
        "with the traceback in the log."
    )


def lacks_memory(error: BaseException) -> bool:
    """Whether memory was short, the machine's or a card's."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    of_mxnet = type(error).__name__ == "MXNetError"
    return isinstance(error, MemoryError) or (of_mxnet and bool(_NO_MEMORY.search(str(error))))


def is_dead_link(path: Path) -> bool:
    """Whether it is a link that leads nowhere, such as one out of what a container mounts."""
    return path.is_symlink() and not path.exists()


def dead_link(path: Path) -> str:
    """What to tell of such a link."""
    return (
        f"{path} is a link to {path.readlink()}, which is not there. Put in its place what it "
        "means: in a container a link reaches only what is mounted."
    )


def _place(error: OSError) -> str:
    names = [os.fsdecode(n) for n in (error.filename, error.filename2) if _is_path(n)]
    return ": " + " -> ".join(f"'{name}'" for name in names) if names else ""


def _is_path(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give an OSError that leaves the block without a file name the name `path`.

    `write` on a full disk raises an error that names no file; this says which one it was.
    """
    try:
        yield
    except OSError as error:
        # One that has no number has its whole text already, which a name would hide.
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise


def first_line(error: BaseException) -> str:
    """What an error of MXNet means: its texts may begin with lines of a C++ traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Traceback", "File "))]
    return (told or lines or [type(error).__name__])[0]


def last_line(error: Exception) -> str:
    """What an error of OpenVINO means: its texts begin with the places it passed through."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1]


def failure_text(error: JobError) -> str:
    """The text of the failure file: label, then the faults, cut to what SageMaker shows."""
    text = f"{error.label}: {error}"
    if len(text) <= FAILURE_LIMIT:
        return text
    more = " ... (the log has the rest)"
    return text[: FAILURE_LIMIT - len(more)] + more


def run_guarded(main: Callable[[], None], failure_file: Path) -> int:
    """Run a process's main function behind its one error boundary; return the exit code.

    On a failure the whole text goes to the log, with a traceback when the fault is ours, and what
    SageMaker shows goes to `failure_file`. A failure file that cannot be written is logged and
    changes nothing else. SystemExit passes through; Ctrl-C gives 130 and no failure file.
    """
    try:
        main()
    except KeyboardInterrupt:
        log.warning("Interrupted.")
        return INTERRUPTED
    except Exception as error:
        failure = as_job_error(error)
        traceback = error if isinstance(failure, AlgorithmError) else None
        log.error("%s: %s", failure.label, failure, exc_info=traceback)
        _write_failure(failure_file, failure_text(failure))
        return failure.exit_code
    return 0


def _write_failure(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        log.error("The failure file could not be written: %s", error)

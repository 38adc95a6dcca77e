"""Every exception becomes one of three kinds, with an exit code and a failure file."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import (
    FAILURE_LIMIT,
    AlgorithmError,
    ClientError,
    JobError,
    PlatformError,
    as_job_error,
    failure_text,
    first_line,
    last_line,
    naming,
    run_guarded,
)


@pytest.mark.parametrize(
    ("kind", "exit_code", "label"),
    [
        pytest.param(AlgorithmError, 1, "AlgorithmError", id="ours"),
        pytest.param(ClientError, 2, "ClientError", id="the user's, as the service exits"),
        pytest.param(PlatformError, 3, "PlatformError", id="the machine's"),
    ],
)
def test_kinds(kind: type[JobError], exit_code: int, label: str) -> None:
    assert (kind.exit_code, kind.label) == (exit_code, label)
    assert failure_text(kind("what. cure")) == f"{label}: what. cure"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        pytest.param(
            OSError(errno.ENOSPC, "x", "/opt/ml/model/a"),
            PlatformError,
            ["No space left", "'/opt/ml/model/a'", "VolumeSizeInGB"],
            id="disk full, path known",
        ),
        pytest.param(
            OSError(errno.ENOSPC, "x"),
            PlatformError,
            ["No space left on the device. Free"],
            id="write() on a full disk names no file",
        ),
        pytest.param(
            OSError(errno.EDQUOT, "x", "/a"), PlatformError, ["quota", "'/a'"], id="quota"
        ),
        pytest.param(
            PermissionError(errno.EACCES, "x", "/a"),
            PlatformError,
            ["Permission denied: '/a'", "owner"],
            id="mode bits forbid it",
        ),
        pytest.param(
            PermissionError(errno.EPERM, "x", "/a"), PlatformError, ["'/a'"], id="flags forbid it"
        ),
        pytest.param(
            OSError(errno.EROFS, "x", b"/a"),
            PlatformError,
            ["read-only: '/a'", "writable"],
            id="read-only mount, path as bytes",
        ),
        pytest.param(
            OSError(errno.EIO, "x", Path("/a")),
            PlatformError,
            ["'/a'", "start the job again"],
            id="broken disk, path as Path",
        ),
        pytest.param(
            OSError(errno.ECONNABORTED, "x", "/a"),
            PlatformError,
            ["gone away: '/a'", "start the job again"],
            id="FUSE has ended",
        ),
        pytest.param(
            OSError(errno.ESHUTDOWN, "x", "/a"),
            PlatformError,
            ["cut this machine off: '/a'", "start the job again"],
            id="Lustre has cut a client off",
        ),
        pytest.param(
            OSError(errno.ENOSPC, "x", "/a", None, "/b"),
            PlatformError,
            ["'/a' -> '/b'"],
            id="a rename has two paths",
        ),
        pytest.param(
            OSError(errno.EIO, "x", 3), PlatformError, ["error. The"], id="a descriptor is no path"
        ),
        pytest.param(
            OSError(errno.EMFILE, "x", "/a"), PlatformError, ["ulimit"], id="too many open files"
        ),
        pytest.param(
            OSError(errno.ENOMEM, "x"), ClientError, ["mini_batch_size"], id="fork without memory"
        ),
        pytest.param(
            MemoryError("Unable to allocate 5 GiB"),
            ClientError,
            ["Out of memory (Unable to allocate 5 GiB). Use"],
            id="numpy says how much",
        ),
        pytest.param(
            MemoryError(), ClientError, ["mini_batch_size"], id="a smaller batch mends it"
        ),
        pytest.param(
            FileNotFoundError(errno.ENOENT, "No such file", "/a"),
            AlgorithmError,
            ["FileNotFoundError", "/a"],
            id="a missing input should have been checked before",
        ),
        pytest.param(
            OSError("no number"), AlgorithmError, ["OSError: no number"], id="no error number"
        ),
        pytest.param(KeyError("k"), AlgorithmError, ["KeyError: 'k'", "report"], id="a bug"),
        pytest.param(
            AssertionError(), AlgorithmError, ["no further text"], id="a bug without text"
        ),
    ],
)
def test_as_job_error(error: BaseException, kind: type[JobError], words: list[str]) -> None:
    failure = as_job_error(error)
    assert type(failure) is kind
    assert [word for word in words if word not in str(failure)] == []


OUT_OF_MEMORY = """
import resource, sys, mxnet as mx
from sagemaker_object_detection.platform.errors import as_job_error
mx.nd.zeros((10,)).wait_to_read()
resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
try:
    arrays = [mx.nd.ones((2**28,)) for _ in range(10)]
    mx.nd.waitall()
except mx.MXNetError as error:
    failure = as_job_error(error)
    sys.exit(f"{failure.label}: {failure}")
"""


def test_mxnet_gets_no_memory() -> None:
    """Ten arrays of 1 GiB where there are 8."""
    command = [sys.executable, "-W", "ignore", "-c", OUT_OF_MEMORY]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stderr.splitlines()[-1] == (
        "ClientError: Out of memory (MXNetError: Failed to allocate CPU Memory). Use a smaller "
        "mini_batch_size or image_shape, or an instance with more memory."
    )


class MXNetError(RuntimeError):
    """Stands for MXNet's, which is told apart by its name: platform/ does not load MXNet."""


@pytest.mark.parametrize(
    "text",
    [
        "cudaMalloc retry failed: out of memory",
        "Check failed: e == cudaSuccess || e == cudaErrorCudartUnloading: CUDA: out of memory",
        "Check failed: e == CUDNN_STATUS_SUCCESS (4 vs. 0) : cuDNN: CUDNN_STATUS_ALLOC_FAILED",
        "Check failed: err == CUBLAS_STATUS_SUCCESS (3 vs. 0) : cuBLAS: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_a_card_has_no_memory(text: str) -> None:
    """As the libraries of the image for cards say it; no card was filled for this."""
    traceback = 'Traceback (most recent call last):\n  File "../src/storage/x.h", line 187\n'
    failure = as_job_error(MXNetError(f"{traceback}MXNetError: {text}"))
    assert isinstance(failure, ClientError)
    assert str(failure).startswith(f"Out of memory (MXNetError: {text}). Use a smaller mini_batch")


def test_what_speaks_of_memory_elsewhere_is_no_lack_of_it() -> None:
    assert isinstance(as_job_error(RuntimeError("CUDA: out of memory")), AlgorithmError)
    assert isinstance(as_job_error(MXNetError("Check failed: memory != nullptr")), AlgorithmError)


@pytest.mark.parametrize("target", ["/nowhere/train.rec", "itself.rec"])
def test_a_link_that_leads_nowhere_is_told(target: str, tmp_path: Path) -> None:
    """As one out of the folder that is mounted into a container."""
    link = tmp_path / "itself.rec"
    link.symlink_to(target)
    with pytest.raises(OSError, match="itself") as caught:
        link.read_bytes()
    failure = as_job_error(caught.value)
    assert isinstance(failure, ClientError)
    assert str(failure).startswith(f"{link} is a link to {target}, which is not there.")


def test_a_job_error_stays_itself() -> None:
    class BadRecordError(ClientError):
        """A kind of a kind, as the data package has."""

    error = BadRecordError("what")
    assert as_job_error(error) is error


def test_several_faults_are_numbered_and_the_first_line_is_useful() -> None:
    error = ClientError("first. cure", "second. cure")
    assert error.faults == ("first. cure", "second. cure")
    assert failure_text(error).splitlines() == [
        "ClientError: [1/2] first. cure",
        "[2/2] second. cure",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            'Traceback (most recent call last):\n  File "a.cc", line 1\nMXNetError: no room\nmore',
            "MXNetError: no room",
            id="MXNet",
        ),
        pytest.param(
            "Traceback (most recent call last):\n\n",
            "Traceback (most recent call last):",
            id="no more than that",
        ),
        pytest.param(" \n", "RuntimeError", id="no text"),
    ],
)
def test_first_line(text: str, line: str) -> None:
    assert first_line(RuntimeError(text)) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            "Exception from a.cpp:84:\nCheck failed\nno room\n\n", "no room", id="OpenVINO"
        ),
        pytest.param(" \n", "RuntimeError", id="no text"),
    ],
)
def test_last_line(text: str, line: str) -> None:
    assert last_line(RuntimeError(text)) == line


def test_a_value_of_any_length_leaves_a_line_that_can_be_read() -> None:
    text = str(ClientError(f"a.txt, line 3: {'9' * 300_000} is no number. Correct it.\nb.txt"))
    first, second = text.split("\n")
    assert len(first) < 2000
    assert first.startswith("a.txt, line 3: 999")
    assert first.endswith("9 is no number. Correct it.")
    assert second == "b.txt"


def test_an_error_needs_a_fault() -> None:
    with pytest.raises(ValueError, match="at least one fault"):
        ClientError()


@pytest.mark.parametrize(
    ("length", "cut"),
    [
        pytest.param(FAILURE_LIMIT - len("ClientError: "), False, id="just fits"),
        pytest.param(FAILURE_LIMIT - len("ClientError: ") + 1, True, id="one character too long"),
        pytest.param(100_000, True, id="very long"),
    ],
)
def test_failure_text_keeps_to_what_is_shown(length: int, cut: bool) -> None:
    text = failure_text(ClientError("x" * length))
    assert len(text) == FAILURE_LIMIT
    assert text.endswith("(the log has the rest)") is cut


def test_naming_gives_a_nameless_error_its_file() -> None:
    with pytest.raises(OSError, match="No space") as caught, naming(Path("/opt/ml/model/x")):
        raise OSError(errno.ENOSPC, "No space")
    assert caught.value.filename == "/opt/ml/model/x"


def test_naming_keeps_the_name_that_is_known() -> None:
    with pytest.raises(OSError, match="No space") as caught, naming("outer"):
        raise OSError(errno.ENOSPC, "No space", "inner")
    assert caught.value.filename == "inner"


def test_naming_leaves_an_error_that_is_only_a_text() -> None:
    """With a name such an error would print as "[Errno None] None: ..."."""
    with pytest.raises(OSError, match=r"^the archive is cut short$"), naming("outer"):
        raise OSError("the archive is cut short")


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "traceback"),
    [
        pytest.param(ClientError("what"), 2, False, id="the user needs no traceback"),
        pytest.param(AlgorithmError("what"), 1, True, id="we do"),
        pytest.param(PlatformError("what"), 3, False, id="nor does the platform"),
        pytest.param(RuntimeError("what"), 1, True, id="any other exception is ours"),
    ],
)
def test_run_guarded_reports(
    error: Exception,
    code: int,
    traceback: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failure_file = tmp_path / "output" / "failure"
    assert run_guarded(lambda: _raise(error), failure_file) == code
    assert failure_file.read_text() == failure_text(as_job_error(error))
    assert "what" in caplog.text
    assert ("Traceback" in caplog.text) is traceback


def test_run_guarded_succeeds_without_a_failure_file(tmp_path: Path) -> None:
    assert run_guarded(lambda: None, tmp_path / "failure") == 0
    assert list(tmp_path.iterdir()) == []


def test_the_log_has_what_the_failure_file_has_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_guarded(lambda: _raise(ClientError("x" * 3000 + "the end")), tmp_path / "failure")
    assert "the end" in caplog.text
    assert len((tmp_path / "failure").read_text()) == FAILURE_LIMIT


def test_a_failure_file_that_cannot_be_written_changes_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "output").write_text("a file where a folder should be")
    assert run_guarded(lambda: _raise(ClientError("what")), tmp_path / "output" / "failure") == 2
    assert "could not be written" in caplog.text


def test_a_name_that_is_not_unicode_can_be_reported(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert run_guarded(lambda: _raise(ClientError(name)), tmp_path / "failure") == 2
    assert (tmp_path / "failure").read_text() == "ClientError: caf\\udce9.jpg"


def test_ctrl_c_is_not_a_failure(tmp_path: Path) -> None:
    assert run_guarded(lambda: _raise(KeyboardInterrupt()), tmp_path / "failure") == 130
    assert list(tmp_path.iterdir()) == []


def test_system_exit_passes(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run_guarded(lambda: _raise(SystemExit(7)), tmp_path / "failure")


def test_a_full_disk_ends_a_real_process_with_the_platforms_code(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    program = (
        "import sys; from pathlib import Path\n"
        "from sagemaker_object_detection.platform.errors import naming, run_guarded\n"
        "def main():\n"
        "    with naming('/dev/full'):\n"
        "        Path('/dev/full').write_text('x')\n"
        f"sys.exit(run_guarded(main, Path({str(tmp_path / 'failure')!r})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=False
    )
    assert done.returncode == 3
    assert (
        (tmp_path / "failure")
        .read_text()
        .startswith("PlatformError: No space left on the device: '/dev/full'. ")
    )

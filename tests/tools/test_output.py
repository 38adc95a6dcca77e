"""What commands print, log and write."""

import errno
import logging
import os
import stat
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.output import logged, prepare_file, write_file

log = logging.getLogger("sagemaker_object_detection.test")


def test_a_file_in_new_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a" / "b" / "c.json"
    prepare_file(file)
    assert list(file.parent.iterdir()) == []
    write_file(file, "ü")
    assert file.read_bytes() == "ü".encode()
    assert capsys.readouterr().out == f"Written: {file}\n"


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ClientError, match=r"a/b cannot be made: .*Give another path\."):
        prepare_file(tmp_path / "a" / "b" / "c.json")


def test_a_folder_that_is_only_read_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "a probe")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    with pytest.raises(OSError, match="Read-only") as error:
        prepare_file(tmp_path / "c.json")
    assert error.value.filename == str(tmp_path)


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    """A file put in its place would leave its reader waiting for ever; so it would /dev/stdout."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    prepare_file(pipe)
    write_file(pipe, "text")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    reader.join(10)
    assert read == ["text"]


def test_a_line_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with logged():
        log.info("a line\x1b[2J")
    assert capsys.readouterr().err == "a line\\x1b[2J\n"


def test_nothing_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with logged():
        log.info("inside")
    log.info("outside")
    assert capsys.readouterr().err == "inside\n"

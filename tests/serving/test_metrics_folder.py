from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from sagemaker_object_detection.serving.metrics_folder import VARIABLE, shared_folder


def test_the_folder_lasts_as_long_as_the_server(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    with (
        contextlib.suppress(KeyError),
        shared_folder(environ, tmp_path) as folder,
    ):
        assert environ[VARIABLE] == str(folder)
        assert folder.parent == tmp_path
        raise KeyError("whatever ends it")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_ends_leaves_the_folder(tmp_path: Path) -> None:
    with shared_folder({}, tmp_path) as folder:
        pid = os.getpid()
        with pytest.MonkeyPatch.context() as patch, shared_folder({}, tmp_path) as other:
            patch.setattr(os, "getpid", lambda: pid + 1)  # as in a child that was forked inside
        assert folder.exists()
        assert other.exists()


def _old(folder: Path) -> None:
    (folder / "counter_1.db").touch()
    os.utime(folder, (0, 0))


def test_what_a_killed_server_left_is_removed(tmp_path: Path) -> None:
    left, young, other = (tmp_path / name for name in ("serve-metrics-a", "serve-metrics-b", "c"))
    for folder in (left, young, other):
        folder.mkdir()
    _old(left)
    _old(other)
    link = tmp_path / "serve-metrics-link"
    link.symlink_to(other)
    with shared_folder({}, tmp_path) as running:
        _old(running)
        with shared_folder({}, tmp_path):
            assert running.exists()  # locked, however old
    assert set(tmp_path.iterdir()) == {young, other, link}


def test_a_folder_is_not_abandoned_while_a_worker_lives(tmp_path: Path) -> None:
    read, write = os.pipe()
    with shared_folder({}, tmp_path) as folder:
        worker = os.fork()
        if worker == 0:
            os.close(write)
            os.read(read, 1)  # until the test closes its end
            os._exit(0)
        os.close(read)
        folder = folder.rename(tmp_path / "serve-metrics-orphan")  # as if the server were killed
    _old(folder)
    with shared_folder({}, tmp_path):
        assert folder.exists()
    os.close(write)
    os.waitpid(worker, 0)
    with shared_folder({}, tmp_path):
        assert not folder.exists()

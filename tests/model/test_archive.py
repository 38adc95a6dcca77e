"""The model channel: what of it is taken for the model, and what an archive may not do."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sagemaker_object_detection.model import archive
from sagemaker_object_detection.model.archive import extract, find_model
from sagemaker_object_detection.platform.errors import ClientError

FILES = ("hyperparams.json", "model_algo_1-symbol.json", "model_algo_1-0000.params")


def _put(folder: Path, content: str = "x") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).write_text(content)
    return folder


def _member(name: str, data: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def _model_tar(path: Path, prefix: str = "", mode: str = "w:gz") -> Path:
    return _tar(path, *(_member(prefix + name) for name in FILES), mode=mode)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    return tmp_path / "channel"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(_put, id="extracted"),
        pytest.param(lambda c: _put(c / "model"), id="extracted, in a sub-folder"),
        pytest.param(lambda c: _model_tar(c / "model.tar.gz"), id="as the platform gives it"),
        pytest.param(lambda c: _model_tar(c / "job-7/output/model.tar.gz"), id="an S3 prefix"),
        pytest.param(lambda c: _model_tar(c / "mine.tar", mode="w"), id="not compressed"),
        pytest.param(
            lambda c: _model_tar(c / "m.tgz", mode="w:bz2"), id="bzip2 under a wrong name"
        ),
        pytest.param(lambda c: _model_tar(c / "model.tar.gz", "./"), id="tar -czf x ."),
        pytest.param(lambda c: _model_tar(c / "model.tar.gz", "model/"), id="tar of a folder"),
        pytest.param(
            lambda c: [_model_tar(c / name) for name in ("model.tar.gz", "output.tar.gz")],
            id="a whole job's output",
        ),
    ],
)
def test_found(build: Callable[[Path], object], channel: Path, scratch: Path) -> None:
    build(channel)
    before = sorted(channel.rglob("*"))
    folder = find_model(channel, scratch)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert all((folder / name).read_text() == "x" for name in FILES)
    assert folder.is_relative_to(channel) or folder.is_relative_to(scratch)
    assert sorted(channel.rglob("*")) == before  # it may be read-only


def test_log_lines_are_the_services(
    channel: Path, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _model_tar(channel / "model.tar.gz")
    find_model(channel, scratch)
    assert caplog.messages == [
        "Start training from the model in the model channel.",
        "Found a model archive file. Extracting model.tar.gz",
    ]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        pytest.param(lambda c: c.mkdir(), r"must hold one folder .* found: none", id="empty"),
        pytest.param(
            lambda c: [_put(c / name) for name in "ab"], r"found: \S+/a, \S+/b", id="two extracted"
        ),
        pytest.param(
            lambda c: [_model_tar(c / name / "model.tar.gz") for name in "ab"],
            r"holds 2 archives: a/model.tar.gz, b/model.tar.gz",
            id="two jobs",
        ),
        pytest.param(
            lambda c: [_model_tar(c / name) for name in ("a.tar", "b.tar")],
            r"holds 2 archives: a.tar, b.tar",
            id="two archives of which none is called model.tar.gz",
        ),
        pytest.param(
            lambda c: [_put(c), _model_tar(c / "model.tar.gz")],
            r"holds an archive, model.tar.gz, and the files of a model",
            id="which of them",
        ),
        pytest.param(
            lambda c: _tar(c / "model.tar.gz", _member("readme.txt")),
            r"model.tar.gz must hold one folder .* found: none",
            id="another archive",
        ),
    ],
)
def test_refused(
    build: Callable[[Path], object], message: str, channel: Path, scratch: Path
) -> None:
    build(channel)
    with pytest.raises(ClientError, match=message):
        find_model(channel, scratch)


def _link(kind: bytes, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return _member("link", b"", type=kind, linkname=target)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        pytest.param([_member("../out")], r"'\.\./out' is refused", id="above"),
        pytest.param([_member("a/../../out")], r"'a/\.\./\.\./out' is refused", id="above, hidden"),
        pytest.param([_link(tarfile.SYMTYPE, "../out")], "neither a file nor", id="link outside"),
        pytest.param([_link(tarfile.SYMTYPE, FILES[0])], "neither a file nor", id="link inside"),
        pytest.param([_link(tarfile.LNKTYPE, "/etc/passwd")], "neither a file", id="hard link"),
        pytest.param([_link(tarfile.FIFOTYPE, "")], "neither a file nor", id="a FIFO would hang"),
        pytest.param([_link(tarfile.CHRTYPE, "")], "neither a file nor", id="device"),
        pytest.param(
            [_link(tarfile.SYMTYPE, ".."), _member("link/out")],
            "'link' is neither",
            id="through a link",
        ),
        pytest.param([_member("a"), _member("b", b"x" * 2000)], "unpacks to more", id="bomb"),
        pytest.param([_member(str(i)) for i in range(9)], "unpacks to more", id="many files"),
    ],
)
def test_unsafe_archives(
    members: list[tuple[tarfile.TarInfo, bytes]],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 8)
    path = _tar(tmp_path / "model.tar.gz", *members)
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    with pytest.raises(ClientError, match=message) as caught:
        extract(path, inside)
    assert str(path) in str(caught.value)
    assert {p.name for p in tmp_path.rglob("*")} <= {
        "model.tar.gz",
        "deep",
        "inside",
        "a",
        *"01234567",
    }


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    """tarfile takes the leading slash off."""
    inside = tmp_path / "inside"
    inside.mkdir()
    extract(_tar(tmp_path / "m.tar", _member(f"{tmp_path}/out"), mode="w"), inside)
    assert not (tmp_path / "out").exists()
    assert [p.name for p in inside.rglob("out")] == ["out"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.8])
def test_a_cut_archive(mode: str, share: float, channel: Path, scratch: Path) -> None:
    noise = bytes((i * i * 7919 >> 5) % 256 for i in range(20_000))
    path = _tar(channel / "model.tar.gz", *(_member(name, noise) for name in FILES), mode=mode)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ClientError, match=r"model\.tar\.gz"):
        find_model(channel, scratch)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<html>403 Forbidden</html>" * 100, id="a page of the web"),
        pytest.param(b"\x1f\x8b\x08\x00" + b"\xff" * 100, id="begins like gzip"),
        pytest.param(b"BZh9" + b"\xff" * 100, id="begins like bzip2"),
        pytest.param(b"\xfd7zXZ\x00" + b"\xff" * 100, id="begins like xz"),
    ],
)
def test_no_archive(content: bytes, channel: Path, scratch: Path) -> None:
    channel.mkdir()
    (channel / "model.tar.gz").write_bytes(content)
    with pytest.raises(ClientError, match=r"model.tar.gz is no tar archive or is damaged"):
        find_model(channel, scratch)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([_member("a"), _member("a/b")], id="a file as a folder"),
        pytest.param([_member("a/b"), _member("a")], id="a folder as a file"),
        pytest.param([_member("a" * 300)], id="a name too long for the disk"),
        pytest.param([_member("a", pax_headers={"path": "a\0b"})], id="NUL in a name"),
        pytest.param([_member("a", pax_headers={"mtime": "nan"})], id="a time that is none"),
        pytest.param([_member("a", pax_headers={"mtime": "1e30"})], id="a time out of range"),
        pytest.param([_member("a", pax_headers={"GNU.sparse.map": "x,y"})], id="sparse, no map"),
    ],
)
def test_members_that_no_disk_can_hold(
    members: list[tuple[tarfile.TarInfo, bytes]], channel: Path, scratch: Path
) -> None:
    _tar(channel / "model.tar.gz", *members)
    with pytest.raises(ClientError, match=r"model.tar.gz is no tar archive or is damaged"):
        find_model(channel, scratch)


def test_a_place_that_cannot_be_written_is_not_the_archives_fault(tmp_path: Path) -> None:
    path = _model_tar(tmp_path / "model.tar.gz")
    with pytest.raises(NotADirectoryError):
        extract(path, path)

"""Fetching of weights while an image is built, from a server of this machine."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from gluoncv.model_zoo import model_store

from sagemaker_object_detection.model import zoo
from sagemaker_object_detection.model.specs import BASE_NETWORKS, get_spec
from sagemaker_object_detection.model.weights import find_weights
from sagemaker_object_detection.model.zoo import ZOO, FetchError, Weights, chosen, fetch

SCRIPT = Path(zoo.__file__)
CONTENT = bytes(range(256)) * 5000
MADE = Weights("made", hashlib.sha1(CONTENT).hexdigest())
MEMBER = f"{MADE.file}.params"


def _zip(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


class _Server(ThreadingHTTPServer):
    """Answers with `answers` one after the other, the last of them again and again.

    An answer is a status and a body; of a status of 0 half of the body comes.
    """

    answers: list[tuple[int, bytes]]
    asked: list[str]

    @property
    def template(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/{{file}}.zip"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        server.asked.append(self.path)
        status, body = server.answers[min(len(server.asked), len(server.answers)) - 1]
        self.send_response(status or 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if status else body[: len(body) // 2])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setattr(zoo.time, "sleep", lambda seconds: None)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.answers, server.asked = [(200, _zip(**{MEMBER: CONTENT}))], []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file(server: _Server, tmp_path: Path) -> None:
    path = fetch(MADE, tmp_path, server.template)
    assert path == tmp_path / f"made-{MADE.sha1[:8]}.params"
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o644
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert server.asked == [f"/models/{MADE.file}.zip"]


def test_what_is_there_is_kept_if_it_is_whole(server: _Server, tmp_path: Path) -> None:
    path = fetch(MADE, tmp_path, server.template)
    assert fetch(MADE, tmp_path, server.template) == path
    assert len(server.asked) == 1
    path.write_bytes(CONTENT[:-1])
    fetch(MADE, tmp_path, server.template)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "failures",
    [
        pytest.param([(503, b"busy")], id="busy once"),
        pytest.param([(500, b""), (0, _zip(**{MEMBER: CONTENT}))], id="a fault, then half a file"),
    ],
)
def test_what_passes_is_tried_again(
    failures: list[tuple[int, bytes]], server: _Server, tmp_path: Path
) -> None:
    server.answers[:0] = failures
    assert fetch(MADE, tmp_path, server.template).read_bytes() == CONTENT
    assert len(server.asked) == len(failures) + 1


def test_only_the_member_that_is_expected_is_unpacked(server: _Server, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "weights"
    folder.mkdir(parents=True)
    members = {"../../outside": b"1", "/tmp/outside": b"2", "beside": b"3", MEMBER: CONTENT}
    server.answers = [(200, _zip(**members))]
    path = fetch(MADE, folder, server.template)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


GOT = hashlib.sha1(b"other").hexdigest()


@pytest.mark.parametrize(
    ("answer", "message", "times"),
    [
        pytest.param(
            (200, _zip(**{MEMBER: b"other"})),
            rf"its SHA-1 is {GOT}, expected {MADE.sha1}",
            1,
            id="another file",
        ),
        pytest.param((404, b""), "HTTP Error 404", 1, id="not found: asked once"),
        pytest.param((403, b""), "HTTP Error 403", 1, id="forbidden: asked once"),
        pytest.param((503, b""), "HTTP Error 503", 3, id="always busy"),
        pytest.param((0, _zip(**{MEMBER: CONTENT})), "IncompleteRead", 3, id="always cut"),
        pytest.param((200, b"<html>"), "no zip file that can be read", 1, id="a web page"),
        pytest.param((200, b""), "no zip file that can be read", 1, id="nothing"),
        pytest.param((200, _zip(other=CONTENT)), f"no {MEMBER} in it", 1, id="other member"),
        pytest.param(
            (200, _flipped(_zip(**{MEMBER: CONTENT}))),
            "no zip file that can be read",
            1,
            id="a bit has flipped",
        ),
    ],
)
def test_refused(
    answer: tuple[int, bytes], message: str, times: int, server: _Server, tmp_path: Path
) -> None:
    """Named by its address; nothing is left behind."""
    server.answers = [answer]
    with pytest.raises(FetchError, match=message) as caught:
        fetch(MADE, tmp_path, server.template)
    assert server.template.replace("{file}", MADE.file) in str(caught.value)
    assert len(server.asked) == times
    assert list(tmp_path.iterdir()) == []


def test_nobody_there(tmp_path: Path, server: _Server) -> None:
    with pytest.raises(FetchError, match=r"cannot be downloaded .*WEIGHTS=none"):
        fetch(MADE, tmp_path, "http://127.0.0.1:9/{file}.zip")


def test_a_small_archive_of_a_large_file(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "LARGEST", 2**20)
    server.answers = [(200, _zip(**{MEMBER: bytes(2**21)}))]
    with pytest.raises(FetchError, match="more than 1048576 bytes"):
        fetch(MADE, tmp_path, server.template)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_the_table_is_gluoncvs(base_network: str, tmp_path: Path) -> None:
    """Same sums and address; and training finds the file by its name."""
    weights = ZOO[base_network]
    assert model_store._model_sha1[weights.name] == weights.sha1
    assert (
        model_store._url_format.format(repo_url=model_store.apache_repo_url, file_name="{file}")
        == zoo.URL
    )
    path = tmp_path / f"{weights.file}.params"
    path.touch()
    environ = {"OBJECT_DETECTION_WEIGHTS": str(tmp_path)}
    assert find_weights(base_network, get_spec(base_network, 300).backbone, None, environ) == path


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("none", []),
        pytest.param("", [], id="an empty argument"),
        pytest.param("imagenet", ["vgg16_atrous", "resnet50_v1"], id="the service's networks"),
        ("resnet-50b", ["resnet50_v1b"]),
        ("resnet-18,mobilenet1.0", ["resnet18_v1", "mobilenet1.0"]),
    ],
)
def test_chosen(words: str, names: list[str]) -> None:
    assert [weights.name for weights in chosen(words)] == names


@pytest.mark.parametrize("words", ["resnet50", "imagenet,resnet-18", "resnet-18,"])
def test_not_to_be_chosen(words: str) -> None:
    with pytest.raises(FetchError, match=r"there is no '.*'\. Give none, imagenet \(vgg-16 and"):
        chosen(words)


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """As a build does: without the project and its libraries."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_program_without_weights(tmp_path: Path) -> None:
    """The folder is there all the same: the image copies it."""
    done = _run("none", tmp_path / "new" / "weights", "--url", "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "new" / "weights").iterdir()) == []


def test_the_program_on_a_wrong_file(server: _Server, tmp_path: Path) -> None:
    """A build ends there, with the address and both sums."""
    server.answers = [(200, _zip(**{f"{ZOO['vgg-16'].file}.params": b"other"}))]
    done = _run("imagenet", tmp_path, "--url", server.template)
    assert done.returncode == 1
    assert done.stderr.startswith("fetch_weights: http://127.0.0.1:")
    assert "/models/vgg16_atrous-4fa2e1ad.zip: vgg16_atrous-4fa2e1ad.params" in done.stderr
    assert f"SHA-1 is {GOT}, expected {ZOO['vgg-16'].sha1}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_program_on_what_is_there(
    server: _Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(zoo, "ZOO", {"vgg-16": MADE, "resnet-50": MADE})
    monkeypatch.setattr(
        sys, "argv", ["zoo.py", "imagenet", str(tmp_path), "--url", server.template]
    )
    zoo.main()
    assert f"{tmp_path / MEMBER}: SHA-1 {MADE.sha1} as expected" in capsys.readouterr().out
    assert len(server.asked) == 1


def test_the_page_has_the_table() -> None:
    page = (SCRIPT.parents[3] / "docs" / "weights.md").read_text()
    for base_network, weights in ZOO.items():
        assert f"| `{base_network}` | `{weights.file}.params` | {weights.sha1} |" in page

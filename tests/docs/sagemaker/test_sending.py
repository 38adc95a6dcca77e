"""The scripts of docs/sagemaker with boto3 and a server of our own where AWS would be."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.docs.sagemaker.scripts import SERVES, TRAINS, Calls, run, shown

pytest.importorskip("boto3", reason="boto3 is not installed")


class Received(NamedTuple):
    """A request as it came; operation is the one of X-Amz-Target, if any."""

    path: str
    operation: str
    headers: dict[str, str]
    body: bytes


class Server(http.server.ThreadingHTTPServer):
    """Keeps what it receives; its answer is the same to all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[Received] = []

    @property
    def environment(self) -> dict[str, str]:
        """What makes boto3 speak to this server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.server.received.append(Received(self.path, operation, dict(self.headers), body))
        answer = json.dumps({f"{operation.removeprefix('Create')}Arn": f"made by {operation}"})
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *words: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _boto3_name(operation: str) -> str:
    from botocore import xform_name

    name: str = xform_name(operation)
    return name


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        pytest.param("train.py", TRAINS, id="train"),
        pytest.param("spot.py", TRAINS, id="spot"),
        pytest.param("tune.py", TRAINS, id="tune"),
        pytest.param("endpoint.py", SERVES, id="endpoint"),
        pytest.param("endpoint.py", ("--delete",), id="delete an endpoint"),
        pytest.param(
            "batch_transform.py",
            (*SERVES, "--pictures", "s3://pictures/new/", "--output", "s3://pictures/found/"),
            id="batch transform",
        ),
    ],
)
def test_what_is_shown_is_what_is_sent(
    server: Server, script: str, arguments: tuple[str, ...]
) -> None:
    named = (*arguments, "--name", "a-name", "--region", "eu-west-1")
    done = run(script, *named, environ=server.environment)
    assert done.returncode == 0, done.stderr
    sent: Calls = [(_boto3_name(r.operation), json.loads(r.body)) for r in server.received]
    assert sent == shown(script, *named)
    made = [r.operation for r in server.received if r.operation.startswith("Create")]
    assert done.stdout.splitlines() == [f"made by {operation}" for operation in made]


def test_a_picture_is_sent_and_the_answer_shown(server: Server, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"a picture")
    options = ("--name", "seen", "--region", "eu-west-1", "--custom", "top_k=1")
    done = run("invoke.py", *options, picture, picture, environ=server.environment)
    assert done.stdout.splitlines() == ['{"Arn": "made by "}'] * 2, done.stderr
    first, second = server.received
    assert (first.path, first.body) == ("/endpoints/seen/invocations", b"a picture")
    headers: dict[str, Any] = {name.lower(): value for name, value in first.headers.items()}
    assert headers["content-type"] == "application/x-image"
    assert headers["accept"] == "application/jsonlines"
    assert headers["x-amzn-sagemaker-custom-attributes"] == "top_k=1"
    assert second.body == first.body


def test_nothing_is_sent_where_it_is_only_shown(server: Server) -> None:
    done = run("train.py", *TRAINS, "--print", environ=server.environment)
    assert done.returncode == 0, done.stderr
    assert server.received == []

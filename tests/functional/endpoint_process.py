"""./serve as a process, for tests: a real gunicorn on a free port, a picture, what is on it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.serving import nginx
from tests import tiny_model

SERVE = Path(__file__).parents[2] / "serve"
NEEDS_NGINX = pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")
Body = bytes | Iterable[bytes] | None

PICTURE = tiny_model.encoded(tiny_model.picture({(0, 0): "red", (3, 2): "blue"}), ".jpg")
RED = {"class_id": 0, "class_name": "red", "bbox": [0.0, 0.0, 160.0, 120.0]}
BLUE = {"class_id": 1, "class_name": "blue", "bbox": [480.0, 240.0, 640.0, 360.0]}


class Endpoint:
    """A running ./serve; its output goes to a file.

    prefix: of its command, as unshare.
    """

    def __init__(self, base: Path, *prefix: str, **environ: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.log_file = base / "log.txt"
        own = {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(self.port)}
        own["OMP_NUM_THREADS"] = "1"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, str(SERVE)],
                cwd=base,
                env={**os.environ, **own, **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Poll; a process that has ended fails the test, one that hangs runs into its timeout."""
        pause = threading.Event()
        while not condition():
            assert self.process.poll() is None, self.log
            pause.wait(0.05)

    def wait_ready(self) -> None:
        self.wait_until(lambda: self._pings())

    def _pings(self) -> bool:
        try:
            return self.request("GET", "/ping")[0] == 200
        except ConnectionRefusedError:
            return False

    def request(
        self, method: str, path: str, body: Body = None, **headers: str
    ) -> tuple[int, str, bytes]:
        """Status, content type and body; header names are given with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()

    def post(self, body: Body, **headers: str) -> tuple[int, Any]:
        status, _, answer = self.request("POST", "/invocations", body, **headers)
        return status, json.loads(answer)

    def descendants(self) -> dict[int, str]:
        """Number and command line of every process below this one."""
        found: dict[int, str] = {}
        new = [self.process.pid]
        while new:
            number = new.pop()
            for file in Path(f"/proc/{number}/task").glob("*/children"):
                for child in map(int, file.read_text().split()):
                    found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
                    new.append(child)
        return found

    def stop(self) -> None:
        """Kill it, and remove what it could not."""
        folders = re.findall(r"Listening at: unix:(\S+)/", self.log)
        with contextlib.suppress(FileNotFoundError):
            maps = Path(f"/proc/{self.process.pid}/maps").read_text()
            folders += re.findall(r"(/\S+)/\w+\.db$", maps, re.MULTILINE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(base: Path, *prefix: str, **environ: str) -> Iterator[Endpoint]:
    endpoint = Endpoint(base, *prefix, **environ)
    try:
        yield endpoint
    finally:
        endpoint.stop()


def without_scores(answer: dict[str, Any]) -> list[dict[str, Any]]:
    found = sorted(answer["predictions"], key=lambda one: one["class_id"])
    return [{key: value for key, value in one.items() if key != "score"} for one in found]

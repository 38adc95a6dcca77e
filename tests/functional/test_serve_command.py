"""`object-detection serve`: the container's endpoint with a model of the user's."""

import json
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests import tiny_model


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, "it has ended"
        try:
            with urllib.request.urlopen(f"{url}/ping", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError


def serve(*options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sagemaker_object_detection.tools.cli", "serve"]
    return subprocess.Popen([*command, *map(str, options)], stderr=subprocess.PIPE, text=True)


def test_an_archive_is_served_to_this_machine_alone(tmp_path: Path) -> None:
    folder = tiny_model.write(tmp_path / "model")
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, ".")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = serve(archive, "--port", port)
    try:
        wait_until_ready(process, url)
        image = tiny_model.encoded(tiny_model.picture({(0, 0): "red"}))
        request = urllib.request.Request(f"{url}/invocations", image, {"Content-Type": "image/png"})
        with urllib.request.urlopen(request, timeout=20) as response:
            (found,) = json.load(response)["predictions"]
        assert found["class_name"] == "red"
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", port))
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=40)
    assert process.returncode == 0
    assert f"Try the model at http://localhost:{port}" in errors


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    process = serve(tmp_path, "--port", free_port())
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"ClientError: {tmp_path} must hold one folder with a file *-symbol.json" in errors


def test_an_address_that_is_none(tmp_path: Path) -> None:
    process = serve(tiny_model.write(tmp_path), "--host", "everywhere")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "OBJECT_DETECTION_HOST is 'everywhere'" in errors

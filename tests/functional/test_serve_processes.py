"""The processes of ./serve: one owns nginx and gunicorn, and none is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests import tiny_model
from tests.functional.endpoint_process import NEEDS_NGINX, PICTURE, Endpoint, running

pytestmark = NEEDS_NGINX

ROOT = os.geteuid() == 0


def _part(endpoint: Endpoint, name: str) -> int:
    """nginx's master, or gunicorn's."""
    below = endpoint.descendants()
    if name == "nginx":
        (number,) = (number for number, command in below.items() if "nginx: master" in command)
        return number
    (found,) = re.findall(r"Listening at: \S+ \((\d+)\)", endpoint.log)
    return int(found)


def _wait_gone(numbers: dict[int, str], seconds: float) -> None:
    until = time.monotonic() + seconds
    while left := [command for number, command in numbers.items() if _lives(number)]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def _lives(number: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("name", ["nginx", "gunicorn"])
def test_if_one_ends_all_end(tmp_path: Path, name: str, how: signal.Signals) -> None:
    tiny_model.write(tmp_path / "model")
    (tmp_path / "tmp").mkdir()
    with running(tmp_path, TMPDIR=str(tmp_path / "tmp")) as endpoint:
        endpoint.wait_ready()
        below = endpoint.descendants()
        os.kill(_part(endpoint, name), how)
        assert endpoint.process.wait(15) == 3, endpoint.log
        end = "signal SIGKILL" if how == signal.SIGKILL else "exit code 0"
        assert endpoint.log.count(f"{name} ended with {end}: the endpoint stops.") == 1
        _wait_gone(below, 5)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_nothing_is_left_of_a_killed_owner(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_ready()
        below = endpoint.descendants()
        endpoint.process.kill()
        _wait_gone(below, 10)


def test_sighup_does_no_harm(tmp_path: Path) -> None:
    """To the owner alone, and to all as from a terminal that closes."""
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_ready()
        endpoint.process.send_signal(signal.SIGHUP)
        os.killpg(endpoint.process.pid, signal.SIGHUP)
        time.sleep(0.5)
        for _ in range(5):
            assert endpoint.post(PICTURE)[0] == 200
        assert endpoint.log.count("Booting worker") == 1


def test_a_worker_that_hangs(tmp_path: Path) -> None:
    """/ping says so within 2 seconds, in JSON, counted and logged."""
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_ready()
        (worker,) = re.findall(r"Booting worker with pid: (\d+)", endpoint.log)
        os.kill(int(worker), signal.SIGSTOP)
        start = time.monotonic()
        status, kind, body = endpoint.request("GET", "/ping")
        assert time.monotonic() - start < 2
        assert (status, kind) == (504, "application/json")
        assert json.loads(body).keys() == {"error", "hint"}
        endpoint.wait_until(lambda: '"path": "/ping", "status": 504' in endpoint.log)
        os.kill(int(worker), signal.SIGCONT)
        assert endpoint.request("GET", "/ping")[0] == 200
        assert 'code="504",path="/ping"' in endpoint.request("GET", "/metrics")[2].decode()


RESTRICTED = """
mount -t tmpfs none {base}/tmp && mount -t tmpfs -o ro none /dev/shm && mount -o remount,bind,ro /
cd {base} && exec unshare -U --map-user=1000 --map-group=1000 "$@"
"""
HIDDEN = 'mount --bind /dev/null "$(command -v nginx)" && exec "$@"'


def _in_own_mounts(script: str) -> list[str]:
    """The beginning of a command that runs `script` first, in a mount namespace."""
    if not ROOT or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("mount namespaces need root")
    return ["unshare", "-m", "bash", "-ec", script, "bash"]


def test_an_unprivileged_user_on_a_read_only_file_system(tmp_path: Path) -> None:
    """Who can write to the folder for temporary files and to nothing else."""
    tiny_model.write(tmp_path / "model")
    (tmp_path / "tmp").mkdir()
    prefix = _in_own_mounts(RESTRICTED.format(base=tmp_path))
    with running(tmp_path, *prefix, TMPDIR=str(tmp_path / "tmp")) as endpoint:
        endpoint.wait_ready()
        assert endpoint.post(PICTURE)[0] == 200
        assert endpoint.post(bytes(25 * 2**20))[0] == 400
        endpoint.process.send_signal(signal.SIGTERM)
        assert endpoint.process.wait(20) == 0, endpoint.log
        assert "Traceback" not in endpoint.log


def test_without_nginx(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, *_in_own_mounts(HIDDEN)) as endpoint:
        endpoint.wait_ready()
        assert endpoint.log.count("nginx is not installed: ") == 1
        assert endpoint.post(PICTURE)[0] == 200
        assert endpoint.post([PICTURE])[0] == 200
        length = f"Content-Length: {26 * 2**20}"
        for request, status in (
            (f"POST /invocations HTTP/1.1\r\n{length}\r\n\r\n", b"413"),
            ("GET /ping HTTP/1.1\r\nX: a\x01b\r\n\r\n", b"400"),
        ):
            with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as client:
                client.sendall(request.encode())
                head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
            assert head.split()[1] == status
            assert json.loads(body)["hint"]
        assert 'code="400",path=' in endpoint.request("GET", "/metrics")[2].decode()
        at_work = threading.Thread(target=endpoint.post, args=(PICTURE,))
        at_work.start()
        endpoint.process.send_signal(signal.SIGTERM)
        at_work.join()
        assert endpoint.process.wait(25) == 0, endpoint.log

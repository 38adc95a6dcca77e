"""What clients do to an endpoint that is seen from the network: ./serve as a process goes on."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests import tiny_model
from tests.functional.endpoint_process import BLUE, NEEDS_NGINX, PICTURE, RED, Endpoint, running

pytestmark = NEEDS_NGINX

HEAD = b"POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Type: image/jpeg\r\n"
CLOSING = b"GET /ping HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    base = tmp_path_factory.mktemp("ml")
    tiny_model.write(base / "model")
    environ = {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "3", "OBJECT_DETECTION_PRECISION": "float32"}
    with running(base, **environ) as endpoint:
        endpoint.wait_ready()
        yield endpoint


@pytest.fixture(autouse=True)
def _goes_on(endpoint: Endpoint) -> Iterator[None]:
    """After whatever a test does, and with the worker it began with."""
    yield
    assert_good(endpoint)
    assert endpoint.log.count("Booting worker with pid") == 1, endpoint.log


def assert_good(endpoint: Endpoint) -> None:
    """/ping and a good request are answered, and soon: nobody waits for clients that are slow."""
    start = time.monotonic()
    assert endpoint.request("GET", "/ping")[0] == 200
    status, answer = endpoint.post(PICTURE)
    assert status == 200
    assert {one["class_name"] for one in answer["predictions"]} == {"red", "blue"}
    assert time.monotonic() - start < 2


def connect(endpoint: Endpoint, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", endpoint.port), timeout=30)
    client.sendall(sent)
    return client


def answer_of(client: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEAD, id="half a head"),
        pytest.param(CHUNKED + b"1\r\na\r\n" * 20_000, id="chunks of one byte"),
        pytest.param(WHOLE[:-1], id="all but a byte"),
        pytest.param(CLOSING, id="an answered request, without a close"),
    ],
)
def test_clients_that_keep_the_endpoint_waiting(endpoint: Endpoint, sent: bytes) -> None:
    """More than it has threads, and none is given up before the good request comes."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(endpoint, sent))
        assert_good(endpoint)


def test_clients_that_do_not_read(endpoint: Endpoint) -> None:
    """The page is larger than what a socket of a client takes in unread."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect(("127.0.0.1", endpoint.port))
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 3)
        assert_good(endpoint)


def test_a_request_that_does_not_arrive_is_given_up_and_logged(endpoint: Endpoint) -> None:
    with connect(endpoint, WHOLE[:-1]) as client:
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
        endpoint.wait_until(lambda: '"status": 408' in endpoint.log)
    assert 'code="408",path="/invocations"' in endpoint.request("GET", "/metrics")[2].decode()


def test_who_goes_away_in_the_middle_is_forgotten(endpoint: Endpoint) -> None:
    for end in range(0, len(WHOLE), len(WHOLE) // 50):
        connect(endpoint, WHOLE[:end]).close()
    with contextlib.ExitStack() as stack:  # and so that the kernel says so the hard way
        for _ in range(20):
            client = stack.enter_context(connect(endpoint, WHOLE))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_two_requests_at_once_on_one_connection(endpoint: Endpoint) -> None:
    with connect(endpoint, WHOLE + WHOLE + b"GET /ping HTTP/1.1\r\nHost: here\r\n\r\n") as client:
        stream = client.makefile("rb")
        for expected in (b"predictions", b"predictions", b""):
            head = {}
            assert stream.readline().startswith(b"HTTP/1.1 200")
            while line := stream.readline().strip():
                name, _, value = line.partition(b": ")
                head[name.lower()] = value
            body = stream.read(int(head[b"content-length"]))
            assert expected in body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(HEAD + b"Content-Length: -5\r\n\r\n" + PICTURE, {400}, id="negative length"),
        pytest.param(HEAD + b"Content-Length: 9e9\r\n\r\n" + PICTURE, {400}, id="no number"),
        pytest.param(HEAD + b"Content-Length: 9\r\n\r\n" + PICTURE, {400}, id="too small a length"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n",
            {400},
            id="both a length and chunks",
        ),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", {400}, id="chunk of no length"
        ),
        pytest.param(
            HEAD + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(1000)) + b"\r\n",
            {200, 400, 431},
            id="a thousand headers",
        ),
        pytest.param(HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n", {431}, id="a header of 100 kB"),
        pytest.param(
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: here\r\n\r\n",
            {414},
            id="a long path",
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}, id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}, id="HTTP/2"),
        pytest.param(b"BREW /pot HTCPCP/1.0\r\n\r\n", {400}, id="another protocol"),
    ],
)
def test_what_is_no_http(endpoint: Endpoint, sent: bytes, status: set[int]) -> None:
    with connect(endpoint) as client:
        with contextlib.suppress(ConnectionError):  # it need not listen to the end
            client.sendall(sent)
        assert answer_of(client)[0] in status


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        pytest.param("ping", b"X: " + b"x" * 30_000 + b"\r\n", 200, id="a field"),
        pytest.param("ping", b"".join(b"X-%d: \r\n" % n for n in range(900)), 200, id="many"),
        pytest.param("a" * 30_000, b"", 404, id="the path"),
    ],
)
def test_headers_may_be_of_32_kb(endpoint: Endpoint, path: str, fields: bytes, status: int) -> None:
    head = f"GET /{path} HTTP/1.1\r\nHost: here\r\n".encode() + fields + b"\r\n"
    with connect(endpoint, head) as client:
        got, body = answer_of(client)
        assert got == status
        assert status == 200 or json.loads(body)["error"]


def _png(width: int, height: int) -> bytes:
    """A white picture of any size in a small file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", rows + packer.flush())
        + chunk(b"IEND", b"")
    )


def test_a_bomb(endpoint: Endpoint) -> None:
    bomb = _png(20_000, 20_000)
    assert len(bomb) < 100_000
    status, answer = endpoint.post(bomb)
    assert status == 400
    assert "20000 x 20000" in answer["error"]


def test_large_pictures_are_decoded_one_at_a_time(endpoint: Endpoint) -> None:
    """Eight that take 300 MB each, decoded; side by side that would be 2.4 GB."""
    large = _png(10_000, 10_000)
    before = _memory_mb(endpoint, "VmRSS")
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda _: endpoint.post(large)[0], range(8)))
    assert set(statuses) <= {200, 503}  # this endpoint waits for three seconds at most
    assert statuses[200] >= 1
    assert _memory_mb(endpoint, "VmHWM") < before + 800


def _memory_mb(endpoint: Endpoint, field: str) -> int:
    pid = re.findall(r"Booting worker with pid: (\d+)", endpoint.log)[-1]
    match = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) // 1024


def _animation() -> bytes:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "white", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(PICTURE[: len(PICTURE) // 2], {400}, id="truncated JPEG"),
        pytest.param(tiny_model.encoded(tiny_model.picture({}))[:-30], {400}, id="truncated PNG"),
        pytest.param(PICTURE + b"PK\x03\x04<script>alert(1)</script>", {200}, id="JPEG and ZIP"),
        pytest.param(b"GIF89a" + PICTURE, {400}, id="GIF and JPEG"),
        pytest.param(b"%PDF-1.7\n" + PICTURE, {400}, id="PDF and JPEG"),
        pytest.param(
            b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
            {400},
            id="SVG",
        ),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\xff" * 1000, {400}, id="PNG of nonsense"),
        pytest.param(bytes(25 * 2**20), {400}, id="25 MB of zeros"),
        pytest.param(bytes(25 * 2**20 + 1), {413}, id="a byte too many"),
        pytest.param(b"P6 60000 60000 255\n", {400}, id="a PPM that declares much"),
    ],
)
def test_what_is_no_picture(endpoint: Endpoint, body: bytes, status: set[int]) -> None:
    got, answer = endpoint.post(body)
    assert got in status, answer


def test_of_an_animation_the_first_picture_counts(endpoint: Endpoint) -> None:
    assert endpoint.post(_animation())[0] == 200


def test_random_bodies(endpoint: Endpoint) -> None:
    """Noise, and good pictures with noise in them."""
    chance = random.Random(7)
    png = tiny_model.encoded(tiny_model.picture({(1, 1): "blue"}))
    statuses: Counter[int] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=30)
    with contextlib.closing(connection):
        for number in range(1000):
            body = bytearray(chance.choice((PICTURE, png)))
            for _ in range(chance.randrange(1, 20)):
                body[chance.randrange(len(body))] = chance.randrange(256)
            if number % 4 == 0:
                body = bytearray(chance.randbytes(chance.randrange(1, 4000)))
            connection.request("POST", "/invocations", bytes(body))
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
    assert set(statuses) == {200, 400}


def test_overload_is_refused_at_once_and_loses_nothing(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, OBJECT_DETECTION_MAX_WAITING="2") as endpoint:
        endpoint.wait_ready()

        def ask(_: int) -> tuple[int, str | None, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
            with contextlib.closing(connection):
                connection.request("POST", "/invocations", PICTURE)
                response = connection.getresponse()
                return response.status, response.headers["Retry-After"], response.read()

        with ThreadPoolExecutor(32) as pool:
            asked = pool.map(ask, range(400))
            start = time.monotonic()
            assert endpoint.request("GET", "/ping")[0] == 200
            assert time.monotonic() - start < 2
            answers = list(asked)
        statuses = Counter(status for status, _, _ in answers)
        assert set(statuses) == {200, 503}, statuses
        assert {again for status, again, _ in answers if status == 503} == {"1"}
        for status, _, body in answers:
            if status == 200:
                found = json.loads(body)["predictions"]
                assert {one["class_name"] for one in found} == {RED["class_name"], "blue"}
            else:
                assert "2 images are waiting" in json.loads(body)["error"]
        assert endpoint.request("GET", "/ping")[0] == 200


def test_a_killed_worker_is_replaced_and_the_other_goes_on(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, SAGEMAKER_MODEL_SERVER_WORKERS="2") as endpoint:
        endpoint.wait_until(lambda: endpoint.log.count("The model is loaded.") == 2)
        endpoint.wait_ready()
        first = int(re.findall(r"Booting worker with pid: (\d+)", endpoint.log)[0])
        os.kill(first, signal.SIGSTOP)  # so that it has no request in its hands when it dies
        time.sleep(0.2)
        stop = threading.Event()
        statuses: Counter[int] = Counter()

        def ask_on() -> None:
            while not stop.is_set():
                try:
                    statuses[endpoint.post(PICTURE)[0]] += 1
                except (ConnectionError, http.client.HTTPException):
                    statuses[0] += 1  # it was with the worker that dies

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(ask_on)
            endpoint.wait_until(lambda: statuses[200] > 20)
            os.kill(first, signal.SIGKILL)
            endpoint.wait_until(lambda: endpoint.log.count("The model is loaded.") == 3)
            enough = statuses[200] + 20
            endpoint.wait_until(lambda: statuses[200] > enough)
            stop.set()
        assert set(statuses) <= {200, 502}
        assert statuses[502] <= 4  # what the worker that died had in its hands


def test_the_only_worker_is_killed_and_the_next_request_waits_for_a_new_one(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_ready()
        os.kill(int(re.findall(r"Booting worker with pid: (\d+)", endpoint.log)[0]), signal.SIGKILL)
        assert endpoint.post(PICTURE)[0] == 200


def test_sigterm_under_load_and_with_slow_clients(tmp_path: Path) -> None:
    """What is at work is finished, who has not sent his request is not waited for long."""
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint, contextlib.ExitStack() as stack:
        endpoint.wait_ready()
        for sent in (b"", HEAD, WHOLE[:-1]) * 10:
            stack.enter_context(connect(endpoint, sent))
        at_work = [stack.enter_context(connect(endpoint, WHOLE)) for _ in range(30)]
        endpoint.wait_until(lambda: '"status": 200' in endpoint.log)
        endpoint.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        for client in at_work:
            status, body = answer_of(client)
            assert status == 200
            assert BLUE["class_name"] in body.decode()
        assert endpoint.process.wait(25) == 0, endpoint.log
        assert time.monotonic() - start < 15
        assert "Traceback" not in endpoint.log

"""Every answer of an endpoint, and none, over real connections."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from sagemaker_object_detection.platform.errors import ClientError, JobError, PlatformError
from sagemaker_object_detection.tools.endpoint_client import EndpointClient
from sagemaker_object_detection.tools.predictions import PictureFailed, PictureUnusable
from tests.tools.scripted_endpoint import Reply, Request, Scripted, fault, healthy, scripted

OK: Reply = (200, {}, b"yes")


@contextmanager
def client_of(url: str, patience: float = 60) -> Iterator[EndpointClient]:
    with closing(EndpointClient(url, patience)) as client:
        yield client


ADDRESSES = [
    pytest.param("", "/invocations", id="bare"),
    pytest.param("/", "/invocations", id="a slash"),
    pytest.param("/invocations", "/invocations", id="the whole path"),
    pytest.param("/behind/a/proxy/", "/behind/a/proxy/invocations", id="a path before it"),
    pytest.param("/Köln a%20b", "/K%C3%B6ln%20a%20b/invocations", id="letters no request has"),
]


@pytest.mark.parametrize(("path", "asked"), ADDRESSES)
def test_address(path: str, asked: str) -> None:
    with scripted(healthy(lambda *_: OK)) as server, client_of(server.url + path) as client:
        client.wait_ready()
        assert client.post(b"picture", "a.jpg", {"X-Here": "1"}) == b"yes"
        assert [one.path for one in server.requests] == [
            asked.replace("invocations", "ping"),
            asked,
        ]
        assert server.posts[0].body == b"picture"
        assert server.posts[0].headers["X-Here"] == "1"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8080",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://h?a",
        "http://host..name",
        f"http://{64 * 'h'}",
    ],
)
def test_no_address(url: str) -> None:
    with pytest.raises(ClientError, match=r"is no address of an endpoint\. Give http://host:port"):
        EndpointClient(url)


ANSWERS: list[object] = [
    pytest.param(
        fault(400, "the body is not an image", "Send a JPEG."),
        PictureUnusable,
        "a.jpg: http://.* answered 400: the body is not an image. Send a JPEG.",
        id="400: this picture",
    ),
    pytest.param(fault(413, "too large"), PictureUnusable, "413: too large", id="413"),
    pytest.param(fault(500, "oops"), PictureFailed, "a.jpg: .* answered 500: oops", id="500"),
    pytest.param((404, {}, b"<p>lost</p>"), ClientError, "404: <p>lost</p>.*--url", id="404"),
    pytest.param(fault(405, "no"), ClientError, "no endpoint at this address", id="405"),
    pytest.param(
        (301, {"Location": "/"}, b""), ClientError, "301: nothing.*no endpoint", id="redirection"
    ),
    pytest.param(fault(403, "forbidden"), ClientError, "403: forbidden", id="403: all pictures"),
    pytest.param(fault(415, "type"), ClientError, "415: type", id="415: all pictures"),
    pytest.param((501, {}, b'["x"]'), ClientError, r'501: \["x"\]', id="another JSON"),
    pytest.param((400, {}, b"\xff\xfe"), PictureUnusable, "400: ", id="no text"),
]


@pytest.mark.parametrize(("reply", "kind", "what"), ANSWERS)
def test_answers(reply: Reply, kind: type[JobError], what: str) -> None:
    with scripted(healthy(lambda *_: reply)) as server, client_of(server.url) as client:
        with pytest.raises(kind, match=what) as caught:
            client.post(b"picture", "a.jpg", {})
        assert type(caught.value) is kind
        assert len(server.posts) == 1  # nothing that waiting would mend


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_busy_for_a_while(status: int, caplog: pytest.LogCaptureFixture) -> None:
    def answer(state: Scripted, _: Request) -> Reply:
        busy = fault(status, "busy", Retry_After="0")
        return OK if len(state.posts) > 2 else busy

    with scripted(healthy(answer)) as server, client_of(server.url) as client:
        assert client.post(b"picture", "a.jpg", {}) == b"yes"
        assert len(server.posts) == 3
        assert {one.body for one in server.posts} == {b"picture"}


@pytest.mark.parametrize(
    ("retry_after", "least"),
    [
        pytest.param({"Retry_After": "1"}, 1, id="seconds"),
        pytest.param({"Retry_After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1, id="a date"),
        pytest.param({}, 1, id="none"),
    ],
)
def test_retry_after_is_heeded(
    retry_after: dict[str, str], least: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    def answer(state: Scripted, _: Request) -> Reply:
        return OK if len(state.posts) > 1 else fault(503, "64 wait", **retry_after)

    with scripted(healthy(answer)) as server, client_of(server.url) as client:
        began = time.monotonic()
        client.post(b"picture", "a.jpg", {})
        assert time.monotonic() - began >= least
    (told,) = caplog.messages
    assert told.startswith(f"Trying again for 60 s: {server.url} answered 503: 64 wait. ")


def test_busy_for_too_long() -> None:
    reply = fault(503, "64 images wait", "Use more instances.", Retry_After="1")
    with scripted(healthy(lambda *_: reply)) as server, client_of(server.url, 1.5) as client:
        with pytest.raises(PlatformError) as caught:
            client.post(b"picture", "a.jpg", {})
        assert str(caught.value) == (
            f"For 2 seconds {server.url} answered 503: 64 images wait. Use more instances. Try "
            "again later, or use more or larger instances."
        )
        assert len(server.posts) == 2


def test_a_model_that_is_still_being_loaded() -> None:
    def script(state: Scripted, _: Request) -> Reply:
        return fault(503, "not yet", Retry_After="0") if len(state.requests) < 3 else OK

    with scripted(script) as server, client_of(server.url) as client:
        client.wait_ready()
        assert [one.path for one in server.requests] == ["/ping"] * 3


def test_no_ping_is_no_matter() -> None:
    with scripted(lambda *_: fault(404, "what?")) as server, client_of(server.url) as client:
        client.wait_ready()


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    began = time.monotonic()
    with client_of(url) as client, pytest.raises(PlatformError) as caught:
        client.wait_ready()
    assert time.monotonic() - began < 5
    assert f"{url} cannot be reached (Connection refused)" in str(caught.value)
    assert "Start the endpoint there, or correct --url" in str(caught.value)


def test_a_host_that_does_not_exist() -> None:
    with (
        client_of("http://nowhere.invalid") as client,
        pytest.raises(PlatformError, match=r"nowhere\.invalid cannot be reached \("),
    ):
        client.wait_ready()


def test_a_connection_that_was_closed_between_requests() -> None:
    """As by a worker that was replaced: the request is sent again at once."""

    def answer(state: Scripted, _: Request) -> Reply | None:
        return None if len(state.posts) == 2 else OK

    with scripted(healthy(answer)) as server, client_of(server.url) as client:
        assert [client.post(b"picture", "a.jpg", {}) for _ in range(3)] == [b"yes"] * 3
        assert len(server.posts) == 4


def test_an_endpoint_that_goes_away() -> None:
    with scripted(healthy(lambda *_: OK)) as server:
        client = EndpointClient(server.url, 1.2)
        client.wait_ready()
        client.close()
    with closing(client), pytest.raises(PlatformError, match=r"^For 1 seconds http://.* cannot"):
        client.post(b"picture", "a.jpg", {})


def test_something_else_than_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with client_of(url) as client, pytest.raises(PlatformError, match=r"SSH-2\.0"):
            client.wait_ready()
        thread.join()


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagemaker_object_detection.tools.endpoint_client._ANSWER_SECONDS", 0.2)

    def hang(state: Scripted, _: Request) -> None:
        state.hold.wait()

    with (
        scripted(healthy(hang)) as server,
        client_of(server.url) as client,
        pytest.raises(PlatformError, match=r"0 s to answer\. See the log"),
    ):
        client.post(b"picture", "a.jpg", {})


@pytest.mark.parametrize("busy", [False, True], ids=["while it is answered", "while it waits"])
def test_interrupt(busy: bool) -> None:
    came = threading.Event()

    def answer(state: Scripted, _: Request) -> Reply | None:
        came.set()
        if busy:
            return fault(503, "busy", Retry_After="15")
        state.hold.wait()
        return None

    errors = []
    with scripted(healthy(answer)) as server, client_of(server.url) as client:

        def ask() -> None:
            try:
                client.post(b"picture", "a.jpg", {})
            except PlatformError as error:
                errors.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        assert came.wait(20)
        began = time.monotonic()
        client.interrupt()
        thread.join(20)
        assert time.monotonic() - began < 5
        assert "was interrupted" in errors[0]
        with pytest.raises(PlatformError, match="was interrupted"):
            client.post(b"picture", "b.jpg", {})
        assert len(server.posts) == 1


def test_threads_have_connections_of_their_own() -> None:
    together = threading.Barrier(4, timeout=20)

    def answer(_: Scripted, request: Request) -> Reply:
        together.wait()
        return 200, {}, request.body

    with scripted(healthy(answer)) as server, client_of(server.url) as client:
        answers: dict[int, bytes] = {}

        def ask(number: int) -> None:
            answers[number] = client.post(b"%d" % number, "a.jpg", {})

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: b"%d" % number for number in range(4)}


def test_a_password_is_neither_ignored_nor_shown() -> None:
    with pytest.raises(ClientError, match=r"--url has a user's name for host,") as caught:
        EndpointClient("https://me:secret@host")
    assert "secret" not in str(caught.value)

"""Requests that arrive in pieces, whole, broken, too large."""

from __future__ import annotations

import pytest

from sagemaker_object_detection.serving.incoming import (
    MAX_HEAD_BYTES,
    BodyTooLarge,
    HeadTooLarge,
    Incoming,
    NotHTTP,
    Refusal,
)

HEAD = b"POST /invocations?x=1 HTTP/1.1\r\nHost: here\r\nContent-Type: image/jpeg\r\n"
BODY = b"0123456789"
REQUEST = HEAD + b"Content-Length: 10\r\n\r\n" + BODY
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 3, 64, 1000])
@pytest.mark.parametrize("whole", [REQUEST, CHUNKED, b"GET /ping HTTP/1.0\r\n\r\n"])
def test_complete_with_the_last_byte_and_not_before(whole: bytes, size: int) -> None:
    request = Incoming(100)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    for piece in pieces:
        assert not request.complete
        assert not request.feed(piece)
    assert request.complete
    assert request.refusal is None
    assert b"".join(request.pieces) == whole
    assert request.size == len(whole)
    assert request.leftover == b""


def test_what_comes_behind_is_left_over() -> None:
    request = Incoming(None)
    request.feed(REQUEST + REQUEST[:20])
    assert request.complete
    assert b"".join(request.pieces) == REQUEST
    assert request.leftover == REQUEST[:20]


def test_what_it_tells() -> None:
    request = Incoming(None)
    assert (request.method, request.path, request.has_head) == ("-", "-", False)
    assert request.begun is None
    request.feed(REQUEST)
    assert (request.method, request.path, request.has_head) == ("POST", "/invocations", True)
    assert request.headers["content-type"] == "image/jpeg"
    assert request.begun is not None


def test_a_client_that_waits_is_told_so() -> None:
    request = Incoming(10)
    assert request.feed(HEAD + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
    assert not request.feed(BODY)
    assert request.complete


@pytest.mark.parametrize(
    ("sent", "kind", "what"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", NotHTTP, "no HTTP", id="TLS"),
        pytest.param(b"hello\r\n\r\n", NotHTTP, "no HTTP", id="no request line"),
        pytest.param(b"POST / HTTP/1.1\r\n\r\n", NotHTTP, "Host", id="no host"),
        pytest.param(
            HEAD + b"Content-Length: -1\r\n\r\n", NotHTTP, "Content-Length", id="negative"
        ),
        pytest.param(
            HEAD + b"Content-Length: ten\r\n\r\n", NotHTTP, "Content-Length", id="no number"
        ),
        pytest.param(
            HEAD + b"Content-Length: 10\r\nContent-Length: 11\r\n\r\n",
            NotHTTP,
            "Content-Length",
            id="two",
        ),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            NotHTTP,
            "no HTTP",
            id="broken chunk",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nX: " + bytes(9) + b"\r\n\r\n", NotHTTP, "no HTTP", id="zeros"
        ),
        pytest.param(
            HEAD + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(5000)),
            HeadTooLarge,
            "headers",
            id="flood",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2 * MAX_HEAD_BYTES + b"\r\n\r\n",
            HeadTooLarge,
            "headers",
            id="all at once",
        ),
        pytest.param(b"GET /" + b"a" * MAX_HEAD_BYTES, HeadTooLarge, "headers", id="endless line"),
    ],
)
def test_refused(sent: bytes, kind: type[Refusal], what: str) -> None:
    request = Incoming(10)
    request.feed(sent)
    assert not request.complete
    assert isinstance(request.refusal, kind)
    assert what in str(request.refusal)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([HEAD + b"Content-Length: 11\r\n\r\n", BODY, b"0"], id="declared"),
        pytest.param([HEAD + b"Transfer-Encoding: chunked\r\n\r\nb\r\n", BODY + b"0\r\n0\r\n\r\n"]),
    ],
)
def test_too_large_is_thrown_away_and_refused_at_its_end(sent: list[bytes]) -> None:
    request = Incoming(10)
    for piece in sent:
        assert request.refusal is None
        request.feed(piece)
    assert isinstance(request.refusal, BodyTooLarge)
    assert not request.complete
    assert request.size == 0


def test_too_large_is_refused_before_it_is_sent_if_the_client_asks() -> None:
    request = Incoming(10)
    assert not request.feed(HEAD + b"Expect: 100-continue\r\nContent-Length: 11\r\n\r\n")
    assert isinstance(request.refusal, BodyTooLarge)


def test_an_endless_body_is_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagemaker_object_detection.serving.incoming._MOST_THROWN_AWAY", 1000)
    request = Incoming(10)
    request.feed(HEAD + b"Content-Length: 999999999999\r\n\r\n")
    for _ in range(101):
        assert request.refusal is None
        request.feed(BODY)
    request.feed(BODY)
    assert isinstance(request.refusal, BodyTooLarge)

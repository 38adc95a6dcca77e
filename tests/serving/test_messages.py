from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from sagemaker_object_detection.serving.messages import Connection

Ends = tuple[Connection, Connection, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two connected ends, and the bare socket of the first."""
    one, other = socket.socketpair()
    with one, other:
        yield Connection(one), Connection(other), one


@pytest.mark.parametrize(
    "content", [b"", b"abc", pytest.param(bytes(range(256)) * 2**14, id="more than a buffer")]
)
def test_arrives_as_it_was_sent(ends: Ends, content: bytes) -> None:
    here, there, _ = ends
    sender = threading.Thread(target=here.send, args=({"shape": [1, 2], "ä": "ö"}, content))
    sender.start()
    assert there.receive(5) == ({"shape": [1, 2], "ä": "ö"}, content)
    sender.join()


def test_one_after_the_other(ends: Ends) -> None:
    here, there, _ = ends
    here.send({"n": 1}, b"x")
    here.send({"n": 2})
    assert [there.receive(5), there.receive(5)] == [({"n": 1}, b"x"), ({"n": 2}, b"")]


def test_nothing_comes(ends: Ends) -> None:
    with pytest.raises(TimeoutError):
        ends[1].receive(0.05)


def test_the_time_is_for_the_whole_message(ends: Ends) -> None:
    _, there, bare = ends
    stop = threading.Event()

    def drip() -> None:
        bare.sendall(struct.pack(">II", 1000, 0))
        while not stop.wait(0.02):
            bare.sendall(b" ")

    slow = threading.Thread(target=drip)
    slow.start()
    with pytest.raises(TimeoutError):
        there.receive(0.2)
    stop.set()
    slow.join()


def test_nobody_takes_it(ends: Ends) -> None:
    with pytest.raises(TimeoutError):
        ends[0].send({}, bytes(2**24), patience=0.1)


@pytest.mark.parametrize("sent", [b"", b"\0\0", struct.pack(">II", 10, 0) + b"{}"])
def test_closed_before_the_end(ends: Ends, sent: bytes) -> None:
    _, there, bare = ends
    bare.sendall(sent)
    bare.close()
    with pytest.raises(EOFError):
        there.receive(5)


def test_a_length_that_no_model_has(ends: Ends) -> None:
    _, there, bare = ends
    bare.sendall(struct.pack(">II", 2, 2**31))
    with pytest.raises(OSError, match="2147483648 bytes"):
        there.receive(5)


def test_shut_wakes_who_waits(ends: Ends) -> None:
    here, _, _ = ends
    raised: list[Exception] = []

    def wait() -> None:
        try:
            here.receive()
        except EOFError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    here.shut()
    waiting.join(5)
    assert len(raised) == 1

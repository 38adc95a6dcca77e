"""Progress: lines in a log, a bar on a terminal."""

import fcntl
import logging
import os
import pty
import select
import struct
import subprocess
import sys
import termios

import pytest

from sagemaker_object_detection.platform import progress
from sagemaker_object_detection.platform.progress import Heartbeat, Progress

PROGRAM = """
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.progress import Progress
logs.setup()
with Progress("looking", 3) as p:
    for _ in range(3):
        p.advance(1)
"""


def test_a_line_every_few_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 5.5, 6.0, 10.6])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO)
    with Progress("Channel 'train' is being checked", 100) as counter:
        for _ in range(4):
            counter.advance(11)
    assert caplog.messages == [
        "Channel 'train' is being checked: 22 of 100 images (4 a second).",
        "Channel 'train' is being checked: 44 of 100 images (4 a second).",
    ]


def test_nothing_is_said_of_short_work(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Progress("looking", 1) as counter:
        counter.advance(1)
    assert caplog.messages == []


def test_a_terminal_gets_a_bar() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run([sys.executable, "-c", PROGRAM], stdout=theirs, stderr=theirs, check=True)
    assert select.select([ours], [], [], 10)[0]
    shown = os.read(ours, 65536)
    assert b"looking" in shown
    assert b"images" in shown
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize(
    ("ends", "lines"),
    [
        pytest.param([10, 20, 29, 39, 49], [20, 49], id="before it would be too late"),
        pytest.param([0.1 * n for n in range(1, 301)], [29.9], id="short steps"),
        pytest.param([40, 80, 120], [40, 80, 120], id="long steps: one after each"),
        pytest.param([14, 40], [40], id="a step that took longer than the one before"),
    ],
)
def test_no_silence_of_more_than_30_seconds(
    ends: list[float], lines: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that end at these times, and when lines are logged."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    heartbeat = Heartbeat()
    told = []
    for now in ends:
        if heartbeat.is_due():
            heartbeat.logged()
            told.append(now)
    assert told == pytest.approx(lines)

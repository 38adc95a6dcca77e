"""What is logged while a command runs."""

from __future__ import annotations

import logging

import pytest
from tqdm import tqdm

from sagemaker_object_detection.tools.shown_log import logged

log = logging.getLogger("sagemaker_object_detection.test")


def test_lines_stand_beside_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(), tqdm(total=10, desc="Bar", ncols=40, mininterval=0) as bar:
        bar.update(1)
        log.info("a line\x1b[2J")
        bar.update(1)
    lines = [line.rstrip() for line in capsys.readouterr().err.replace("\r", "\n").splitlines()]
    assert "a line\\x1b[2J" in lines  # and not behind what there is of the bar


def test_nothing_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with logged():
        log.info("inside")
    log.info("outside")
    assert capsys.readouterr().err == "inside\n"

"""Failures on their way between processes."""

from __future__ import annotations

import pytest

from sagemaker_object_detection.data.recordio import RecordIOError
from sagemaker_object_detection.platform.errors import (
    AlgorithmError,
    ClientError,
    JobError,
    PlatformError,
)
from sagemaker_object_detection.platform.failure_message import by, decode, encode
from sagemaker_object_detection.platform.process_group import Gone


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(ClientError("class_id 7", "café"), ClientError, id="the user's"),
        pytest.param(AlgorithmError("a bug"), AlgorithmError, id="ours"),
        pytest.param(PlatformError("no\nspace"), PlatformError, id="the platform's"),
        pytest.param(Gone("rank 1 is gone"), PlatformError, id="of the group itself"),
    ],
)
def test_there_and_back(error: JobError, kind: type[JobError]) -> None:
    told = decode(encode(error))
    assert type(told) is kind
    assert told.faults == error.faults


def test_who_it_was() -> None:
    error = by("rank 1 on algo-2", ClientError("first", "second"))
    assert isinstance(error, ClientError)
    assert error.faults == ("rank 1 on algo-2: first", "second")


def test_an_error_that_makes_its_text_itself_keeps_its_kind() -> None:
    """A record that cannot be read, in one of several processes."""
    error = by(
        "rank 1 on algo-2", RecordIOError("train.rec, record 3", "no magic", "Pack it again.")
    )
    assert isinstance(error, ClientError)
    assert error.faults == ("rank 1 on algo-2: train.rec, record 3: no magic. Pack it again.",)


@pytest.mark.parametrize("message", [b"", b"\xff", b"{}", b"[]", b'["Unheard", "x"]', b'["x"]'])
def test_noise(message: bytes) -> None:
    assert isinstance(decode(message), PlatformError)

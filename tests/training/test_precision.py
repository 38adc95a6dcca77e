"""The choice of the number format, by machine."""

from __future__ import annotations

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.training.run import choose_precision

NONE: frozenset[str] = frozenset()
ZEN4 = frozenset({"avx2", "avx512_bf16"})
SAPPHIRE = frozenset({"avx2", "amx_bf16"})


@pytest.mark.parametrize(
    ("asked", "on_gpu", "flags", "chosen"),
    [
        ("float32", False, NONE, "float32"),
        ("float32", True, NONE, "float32"),
        ("bfloat16", False, ZEN4, "bfloat16"),
        ("bfloat16", False, SAPPHIRE, "bfloat16"),
        pytest.param("bfloat16", False, NONE, "bfloat16", id="asked for, so done, though slow"),
        ("float16", True, NONE, "float16"),
        pytest.param("auto", False, NONE, "float32", id="auto: a CPU without instructions for it"),
    ],
)
def test_chosen(asked: str, on_gpu: bool, flags: frozenset[str], chosen: str) -> None:
    assert choose_precision(asked, on_gpu, flags) == chosen


@pytest.mark.parametrize(
    ("on_gpu", "flags"), [(False, NONE), (False, ZEN4), (False, SAPPHIRE), (True, NONE)]
)
def test_auto_says_what_it_chose(
    on_gpu: bool, flags: frozenset[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert choose_precision("auto", on_gpu, flags) == "float32"
    (record,) = caplog.records
    assert "float32" in record.getMessage()
    assert ("precision=bfloat16 takes" in record.getMessage()) == (flags != NONE)


def test_slow_bfloat16_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    choose_precision("bfloat16", False, NONE)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    caplog.clear()
    choose_precision("bfloat16", False, ZEN4)
    assert not caplog.records


@pytest.mark.parametrize(
    ("asked", "on_gpu", "message"),
    [("float16", False, "float16 needs a GPU"), ("bfloat16", True, "bfloat16 is for CPUs")],
)
def test_impossible(asked: str, on_gpu: bool, message: str) -> None:
    with pytest.raises(ClientError, match=f"precision: {message}.*auto"):
        choose_precision(asked, on_gpu, ZEN4)

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sagemaker_object_detection.platform import processor
from sagemaker_object_detection.platform.processor import cpu_flags


def test_flags_of_the_first_processor(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\nflags\t\t: fpu avx512_vnni avx512_bf16\nvmx flags\t: vnmi\n\n"
        "processor\t: 1\nflags\t\t: fpu\n"
    )
    assert cpu_flags(path) == {"fpu", "avx512_vnni", "avx512_bf16"}


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "nowhere") == frozenset()
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd\n")
    assert cpu_flags(tmp_path / "cpuinfo") == frozenset()


AMX = frozenset({"amx_tile", "amx_bf16", "avx512_bf16"})


@pytest.mark.parametrize(
    ("flags", "permitted", "before", "after", "reason"),
    [
        (AMX, True, None, "AVX512_CORE_AMX", "there and permitted"),
        (AMX, True, "AVX512_CORE_AMX", "AVX512_CORE_AMX", "the user asks for it"),
        (AMX, True, "AVX2", "AVX2", "the user forbids it"),
        (AMX, False, None, None, "the system refuses"),
        (AMX, False, "AVX512_CORE_AMX", None, "a process without permission would be killed"),
        (AMX - {"amx_bf16"}, True, None, None, "no bfloat16"),
        (frozenset(), True, "AVX512_CORE_AMX", None, "no AMX"),
    ],
)
def test_amx_is_allowed(
    flags: frozenset[str],
    permitted: bool,
    before: str | None,
    after: str | None,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processor, "_ask_for_tiles", lambda: permitted)
    environ = {} if before is None else {processor.ISA_VARIABLE: before}
    assert processor.allow_amx(environ, flags) == (after == "AVX512_CORE_AMX"), reason
    assert environ.get(processor.ISA_VARIABLE) == after, reason


IN_A_PROCESS = """
import os
from sagemaker_object_detection.platform.processor import allow_amx
print("amx", allow_amx(os.environ))
os.environ["DNNL_VERBOSE"] = "1"
import mxnet as mx
from sagemaker_object_detection.model.network import lower_precision
data, weight = mx.sym.var("data"), mx.sym.var("weight")
graph = mx.sym.Convolution(data, weight, kernel=(3, 3), num_filter=64, no_bias=True)
graph = lower_precision(mx.sym.Group([graph]), "bfloat16")
arrays = {"data": mx.nd.ones((2, 64, 9, 9)), "weight": mx.nd.ones((64, 64, 3, 3))}
print("sum", graph.bind(mx.cpu(), arrays).forward()[0].sum().asscalar())
"""


def test_a_process_computes_with_what_it_was_allowed() -> None:
    """Without the permission oneDNN's AMX kernels end a process by SIGILL."""
    command = [sys.executable, "-W", "ignore", "-c", IN_A_PROCESS]
    environ = {k: v for k, v in os.environ.items() if k != processor.ISA_VARIABLE}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert f"sum {2 * 64 * 7 * 7 * 64 * 9}" in done.stdout
    assert ("amx True" in done.stdout) == ("avx512_core_amx" in done.stdout)

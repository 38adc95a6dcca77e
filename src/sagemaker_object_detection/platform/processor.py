"""What the CPU can compute with."""

import ctypes
import logging
import platform
from collections.abc import MutableMapping
from pathlib import Path

log = logging.getLogger(__name__)

_CPU_INFO = Path("/proc/cpuinfo")

BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
AMX_FLAGS = frozenset({"amx_tile", "amx_bf16"})

ISA_VARIABLE = "DNNL_MAX_CPU_ISA"
_AMX = "AVX512_CORE_AMX"
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
"""Of Linux on x86-64: asm/prctl.h, Documentation/arch/x86/xstate.rst."""


def cpu_flags(cpu_info: Path = _CPU_INFO) -> frozenset[str]:
    """Instruction sets of the first processor; empty where the system does not tell."""
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def allow_amx(environ: MutableMapping[str, str], flags: frozenset[str] | None = None) -> bool:
    """Let MXNet compute bfloat16 with the CPU's matrix units (AMX); returns whether it will.

    oneDNN 2.4, which is inside MXNet, takes them only if `DNNL_MAX_CPU_ISA` says so when it is
    loaded, and Linux lets a process use them only if it has asked to: without that permission it
    would be killed (SIGILL). A value that the user has set is left alone, unless it is one that
    would kill.

    Args:
        environ: `os.environ`, before MXNet is imported.
        flags: instruction sets of the CPU; default: asked from the system.
    """
    if environ.get(ISA_VARIABLE, _AMX) != _AMX:
        return False
    found = AMX_FLAGS.issubset(cpu_flags() if flags is None else flags)
    if found and platform.machine() == "x86_64" and _ask_for_tiles():
        environ[ISA_VARIABLE] = _AMX
        return True
    if environ.pop(ISA_VARIABLE, None):
        log.warning("%s=%s is ignored: this machine does not allow AMX.", ISA_VARIABLE, _AMX)
    return False


def _ask_for_tiles() -> bool:
    """Ask Linux for the permission, which threads and forks share and `exec` takes away."""
    try:
        return not ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)
    except (OSError, AttributeError):  # no Linux
        return False

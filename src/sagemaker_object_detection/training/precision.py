"""Which number format training computes in."""

from __future__ import annotations

import logging

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.processor import AMX_FLAGS, BFLOAT16_FLAGS

log = logging.getLogger(__name__)


def choose_precision(asked: str, on_gpu: bool, flags: frozenset[str]) -> str:
    """float32, bfloat16 or float16 for what was asked, "auto" included; the log says why.

    Args:
        on_gpu: whether training runs on GPUs.
        flags: instruction sets of the CPU.

    Raises:
        ClientError: float16 on a CPU, which has no arithmetic for it, or bfloat16 on a GPU.
    """
    if asked == "float16" and not on_gpu:
        raise ClientError(
            "Hyperparameter precision: float16 needs a GPU, and this machine has none that MXNet "
            "sees. Use bfloat16, float32 or auto."
        )
    if asked == "bfloat16" and on_gpu:
        raise ClientError(
            "Hyperparameter precision: bfloat16 is for CPUs; MXNet has no kernels for it on GPUs. "
            "Use float16, float32 or auto."
        )
    if asked != "auto":
        if asked == "bfloat16" and not flags & BFLOAT16_FLAGS:
            log.warning("This CPU has no bfloat16 instructions: training will be slow.")
        return asked
    faster = ""
    if not on_gpu and flags & BFLOAT16_FLAGS:
        share = "half" if flags >= AMX_FLAGS else "0.6"
        faster = f" This CPU computes bfloat16 too: precision=bfloat16 takes {share} of the time."
    log.info("Precision auto: float32.%s", faster)
    return "float32"

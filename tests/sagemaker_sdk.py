"""The SageMaker Python SDK for tests: an environment of its own, since it does not go with ours.

SAGEMAKER_SDK_PYTHON names the Python of one with `sagemaker>=2,<3` in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

VARIABLE = "SAGEMAKER_SDK_PYTHON"
_VERSION = "import importlib.metadata as m; print(m.version('sagemaker').partition('.')[0])"


def sdk_python() -> str:
    """The Python that has the SDK; where there is none the test is skipped."""
    python = os.environ.get(VARIABLE) or sys.executable
    found = subprocess.run([python, "-c", _VERSION], capture_output=True, text=True)
    if found.stdout.strip() != "2":
        pytest.skip(f"sagemaker>=2,<3 is not installed, and {VARIABLE} names no Python that has it")
    return python


def run_with_sdk(
    *arguments: object, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run its Python with these arguments; nothing of this environment's packages reaches it."""
    python = sdk_python()
    names = ("AWS_", "PYTHONPATH", "SAGEMAKER_")
    inherited = {name: v for name, v in os.environ.items() if not name.startswith(names)}
    own = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return subprocess.run(
        [python, *(str(argument) for argument in arguments)],
        env={**inherited, **own, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=240,
    )

"""The test for machines with a card, on one that has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gpu_test
import pytest

SCRIPT = Path(gpu_test.__file__)


@pytest.mark.skipif(gpu_test.DRIVER.exists(), reason="this machine has a card")
def test_without_a_card_it_refuses_before_it_builds() -> None:
    """The tool named does not exist: it was not started."""
    answer = subprocess.run(
        [sys.executable, str(SCRIPT), "--tool", "/nowhere/docker"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr == (
        "gpu-test: needs an NVIDIA card with its driver, and this machine has no /dev/nvidiactl. "
        "Run it where there is one; `make gpu-image-test` tries what needs no card.\n"
    )

"""The scripts of docs/sagemaker as processes, and what they show with --print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "docs" / "sagemaker"

ROLE = "arn:aws:iam::111122223333:role/service-role/detection"
IMAGE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-object-detection:cpu"
RUNS = ("--role", ROLE, "--image", IMAGE)
TRAINS = (*RUNS, "--bucket", "pictures", "--num-classes", "3", "--num-training-samples", "4")
SERVES = (*RUNS, "--model", "s3://pictures/output/model.tar.gz")

Calls = list[tuple[str, dict[str, Any]]]


def run(
    script: str, *arguments: object, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script; AWS configuration and addresses of the machine do not reach it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    return subprocess.run(
        [sys.executable, FOLDER / script, *(str(argument) for argument in arguments)],
        env={**inherited, **nowhere, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


def shown(script: str, *arguments: object) -> Calls:
    """The operations and requests that a script prints."""
    done = run(script, *arguments, "--print")
    assert done.returncode == 0, done.stderr
    return calls_of(done.stdout)


def calls_of(text: str) -> Calls:
    """JSON objects {operation: request}, one after the other."""
    decoder, position, calls = json.JSONDecoder(), 0, Calls()
    while position < len(text):
        call, end = decoder.raw_decode(text, position)
        calls.extend(call.items())
        position = end + len(text[end:]) - len(text[end:].lstrip())
    return calls

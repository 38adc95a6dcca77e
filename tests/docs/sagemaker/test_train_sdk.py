"""train_sdk.py asks for the same job as train.py, by the SageMaker SDK where there is one."""

from __future__ import annotations

import pytest

from tests.docs.sagemaker.scripts import FOLDER, TRAINS, calls_of, shown
from tests.docs.sagemaker.service_model import faults
from tests.sagemaker_sdk import run_with_sdk, sdk_python

# Defaults that train.py writes and the SDK does not, and the name, which a pipeline chooses.
LEFT_OUT = {"CompressionType": "None", "RecordWrapperType": "None", "InputMode": "File"}


@pytest.mark.parametrize("form", ["recordio", "image"])
def test_the_sdk_asks_for_the_same_job(form: str) -> None:
    sdk_python()
    arguments = (*TRAINS, "--form", form, "-H", "epochs=3", "--name", "a-name")
    options = (*arguments, "--print", "--region", "eu-west-1")
    done = run_with_sdk(FOLDER / "train_sdk.py", *options)
    assert done.returncode == 0, done.stderr
    [(operation, request)] = calls_of(done.stdout)
    named = {"TrainingJobName": "a-name", **request}
    assert faults("sagemaker", operation, named) == []
    [(_, expected)] = shown("train.py", *arguments)
    for channel in expected["InputDataConfig"]:
        assert LEFT_OUT.items() <= channel.items()
        for name in LEFT_OUT:
            del channel[name]
    assert {name: named[name] for name in expected} == expected
    assert named.keys() - expected.keys() <= {"ProfilerConfig"}

from __future__ import annotations

from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.serving.settings import _VARIABLES, Settings, warn_of_unknown


def test_defaults() -> None:
    assert Settings.from_environment({}) == Settings()
    empty = {"SAGEMAKER_BIND_TO_PORT": "", "OBJECT_DETECTION_THRESHOLD": " "}
    assert Settings.from_environment(empty) == Settings()


def test_all_variables() -> None:
    got = Settings.from_environment(
        {
            "OBJECT_DETECTION_HOST": "127.0.0.1",
            "SAGEMAKER_BIND_TO_PORT": "9000",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": "120",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6",
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/jsonlines",
            "OBJECT_DETECTION_RESPONSE": "Builtin",
            "OBJECT_DETECTION_THRESHOLD": "0.5",
            "OBJECT_DETECTION_ENGINE": "openvino",
            "OBJECT_DETECTION_PRECISION": "int8",
            "OBJECT_DETECTION_MEAN": "123, 117,104.5",
            "OBJECT_DETECTION_MAX_BATCH": "4",
            "OBJECT_DETECTION_MAX_DELAY_MS": "5",
            "OBJECT_DETECTION_PAGE": "0",
            "SAGEMAKER_CONTAINER_LOG_LEVEL": "30",
        }
    )
    mean = (123.0, 117.0, 104.5)
    engine = ("openvino", "int8", mean, 4, 5)
    answer = ("application/jsonlines", "builtin", 0.5)
    assert got == Settings("127.0.0.1", 9000, 2, 120, 6, *answer, *engine, page=False, log_level=30)
    assert got.max_body_bytes == 6 * 2**20


def test_many_models() -> None:
    many = {"SAGEMAKER_MULTI_MODEL": "true"}
    assert Settings.from_environment(many) == Settings(multi_model=True)
    one = {**many, "SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
    assert Settings.from_environment(one) == Settings(multi_model=True)
    two = {**many, "SAGEMAKER_MODEL_SERVER_WORKERS": "2"}
    with pytest.raises(ClientError, match=r"SAGEMAKER_MODEL_SERVER_WORKERS is 2.* Unset it"):
        Settings.from_environment(two)


def test_no_limit_of_the_body() -> None:
    assert Settings(max_payload_mb=0).max_body_bytes is None


@pytest.mark.parametrize(
    ("text", "level"),
    [
        pytest.param("20", 20, id="what the SDK sends: a number of Python's logging"),
        pytest.param("50", 50, id="the highest"),
        pytest.param("Warning", 30, id="a name"),
    ],
)
def test_log_level(text: str, level: int) -> None:
    environ = {"SAGEMAKER_CONTAINER_LOG_LEVEL": text}
    assert Settings.from_environment(environ).log_level == level


@pytest.mark.parametrize("text", ["15", "loud", "-10", "²"])
def test_no_log_level(text: str) -> None:
    with pytest.raises(ClientError, match=r"is no level of the log\. Give one of 10 \(debug\), 20"):
        Settings.from_environment({"SAGEMAKER_CONTAINER_LOG_LEVEL": text})


def test_the_page_about_the_endpoint_has_every_variable() -> None:
    page = (Path(__file__).parents[2] / "docs" / "endpoint.md").read_text(encoding="utf-8")
    for variable, _ in _VARIABLES.values():
        assert f"| `{variable}` |" in page


def test_all_faults_together() -> None:
    with pytest.raises(ClientError) as caught:
        Settings.from_environment(
            {
                "SAGEMAKER_MODEL_SERVER_WORKERS": "0",
                "OBJECT_DETECTION_RESPONSE": "object",
                "OBJECT_DETECTION_THRESHOLD": "20 %",
            }
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 3
    assert "SAGEMAKER_MODEL_SERVER_WORKERS is '0', which is too small" in text
    assert "did you mean 'objects'?" in text
    assert "OBJECT_DETECTION_THRESHOLD is '20 %', which is not a number" in text
    assert "or unset it" in text


def test_a_default_accept_that_cannot_be_answered() -> None:
    with pytest.raises(ClientError) as caught:
        Settings.from_environment({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"})
    assert str(caught.value) == (
        "The environment variable SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT is 'text/csv', which names "
        "nothing that can be answered. Give one of application/json, "
        "application/json;format=objects, application/json;format=builtin, "
        "application/json;annotation=1, application/jsonlines, or unset it."
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [("1,2", "has 2 parts"), ("1,,3", "is not a number"), ("1,2,256", "is too large")],
)
def test_a_colour_that_is_none(given: str, told: str) -> None:
    with pytest.raises(ClientError, match=f"OBJECT_DETECTION_MEAN is '{given}', which {told}"):
        Settings.from_environment({"OBJECT_DETECTION_MEAN": given})


@pytest.mark.parametrize("word", ["true", "True"])
def test_an_answer_may_take_as_long_as_the_platform_waits(word: str) -> None:
    settings = Settings.from_environment({"SAGEMAKER_BATCH": word})
    assert (settings.batch, settings.timeout) == (True, 600)
    both = {"SAGEMAKER_BATCH": word, "SAGEMAKER_MODEL_SERVER_TIMEOUT": "30"}
    assert Settings.from_environment(both).timeout == 30
    assert Settings.from_environment({"SAGEMAKER_BATCH": "false"}).timeout == 60


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        pytest.param("SAGEMAKER_MODEL_SERVER_TIMEOUT", "1e30", "from 1 to 3600", id="timeout"),
        pytest.param("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "0", "small", id="its synonym"),
        pytest.param("SAGEMAKER_MODEL_SERVER_WORKERS", "9999", "from 1 to 256", id="workers"),
    ],
)
def test_bounds(variable: str, value: str, told: str) -> None:
    with pytest.raises(ClientError, match=f"{variable} is '{value}'.*{told}"):
        Settings.from_environment({variable: value})


def test_a_synonym_of_the_timeout() -> None:
    environ = {"SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "7"}
    assert Settings.from_environment(environ).timeout == 7
    environ["SAGEMAKER_MODEL_SERVER_TIMEOUT"] = "9"
    assert Settings.from_environment(environ).timeout == 9


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        pytest.param(
            "OBJECT_DETECTION_TRESHOLD", "did you mean OBJECT_DETECTION_THRESHOLD?", id="near"
        ),
        pytest.param("OBJECT_DETECTION_COLOUR", "no variable has this name", id="unknown"),
        pytest.param(
            "SAGEMAKER_MODEL_SERVER_WORKER",
            "did you mean SAGEMAKER_MODEL_SERVER_WORKERS?",
            id="near one of the platform",
        ),
        pytest.param(
            "SAGEMAKER_MAX_PAYLOAD_MB", "mean SAGEMAKER_MAX_PAYLOAD_IN_MB?", id="a word is missing"
        ),
        pytest.param("SAGEMAKER_BASE_DIR", None, id="read elsewhere"),
        pytest.param("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", None, id="a synonym"),
        pytest.param("SAGEMAKER_MODEL_SERVER_VMARGS", None, id="the platform's"),
        pytest.param("SAGEMAKER_MODEL_SERVER_MODULE", None, id="the platform's as well"),
        pytest.param("SAGEMAKER_REGION", None, id="one more"),
        pytest.param("SAGEMAKER_SAFE_PORT_RANGE", None, id="and one more"),
        pytest.param("SAGEMAKER_CONTAINER_ROOT", None, id="none of ours"),
        pytest.param("OBJECT_DETECTION_WEIGHTS", None, id="of training"),
    ],
)
def test_variables_that_nothing_reads(
    variable: str, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_unknown({variable: "1"})
    if told is None:
        assert caplog.text == ""
    else:
        (record,) = caplog.records
        assert record.getMessage().startswith(f"{variable} is not read: ")
        assert told in record.getMessage()

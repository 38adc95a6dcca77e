"""Every metric's line is read by its own regular expression and by no other."""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.platform import logs

CROSS_ENTROPY = (
    "#quality_metric: host=algo-1, epoch=0, batch=1035 "
    "train cross_entropy <loss>=(1.1592809385995073)"
)
SMOOTH_L1 = (
    "#quality_metric: host=algo-1, epoch=0, batch=1035 train smooth_l1 <loss>=(0.5428036072072824)"
)
VALIDATION = "#quality_metric: host=algo-1, epoch=0, validation mAP <score>=(0.19905460940354514)"
PROGRESS = "#progress_metric: host=algo-1, completed 20.0 % of epochs"
THROUGHPUT = "#throughput_metric: host=algo-1, train throughput=161.05025333514 records/second"


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            logs.loss_line("algo-1", 0, 1035, "cross_entropy", 1.1592809385995073),
            CROSS_ENTROPY,
            id="loss of the classes",
        ),
        pytest.param(
            logs.loss_line("algo-1", 0, 1035, "smooth_l1", 0.5428036072072824),
            SMOOTH_L1,
            id="loss of the boxes",
        ),
        pytest.param(logs.map_line("algo-1", 0, 0.19905460940354514), VALIDATION, id="validation"),
        pytest.param(logs.progress_line("algo-1", 1, 5), PROGRESS, id="one epoch of five"),
        pytest.param(logs.throughput_line("algo-1", 161.05025333514), THROUGHPUT, id="throughput"),
        pytest.param(
            logs.batches_line(0, 100, 1600, 72.51, 22.067521),
            "Epoch:    0, batches:    100, num_examples:   1600, 72.5 samples/sec, "
            "epoch time so far:  0:00:22.067521",
            id="inside an epoch",
        ),
        pytest.param(
            logs.learning_rate_line(3103, 1e-5),
            "Update[3103]: Change learning rate to 1.00000e-05",
            id="step of the learning rate",
        ),
        pytest.param(
            logs.best_model_line(0.19905460940354514),
            "Updating the best model with validation-mAP=0.19905460940354514",
            id="best model",
        ),
        pytest.param(
            logs.saved_line(Path("/opt/ml/model/model_algo_1-0000.params")),
            'Saved checkpoint to "/opt/ml/model/model_algo_1-0000.params"',
            id="saved",
        ),
        pytest.param(
            logs.batch_count_line(9, 10),
            "Expected number of batches: 9, did not match the number of batches processed: 10. "
            "This may happen when some images or annotations are invalid and cannot be parsed. "
            "Please check the dataset and ensure it follows the format in the documentation.",
            id="num_training_samples is wrong",
        ),
    ],
)
def test_lines_are_those_of_the_service(line: str, expected: str) -> None:
    assert line == expected


@pytest.mark.parametrize(
    ("name", "line", "value"),
    [
        ("train:progress", PROGRESS, 20.0),
        ("train:smooth_l1", SMOOTH_L1, 0.5428036072072824),
        ("train:cross_entropy", CROSS_ENTROPY, 1.1592809385995073),
        ("train:throughput", THROUGHPUT, 161.05025333514),
        ("validation:mAP", VALIDATION, 0.19905460940354514),
    ],
)
def test_each_regex_reads_its_own_line_alone(name: str, line: str, value: float) -> None:
    logged = f"[06/08/2021 00:20:14 INFO 139763492013888] {line}"
    found = {m.name: match for m in logs.METRICS if (match := re.search(m.regex, logged))}
    assert list(found) == [name]
    assert float(found[name].group(1)) == value


@given(st.floats(allow_nan=False), st.from_regex(r"[a-z][a-z0-9-]*", fullmatch=True))
def test_any_value_is_read_back_exactly(value: float, host: str) -> None:
    regex = {metric.name: metric.regex for metric in logs.METRICS}
    lines = {
        "train:cross_entropy": logs.loss_line(host, 3, 7, "cross_entropy", value),
        "train:smooth_l1": logs.loss_line(host, 3, 7, "smooth_l1", value),
        "validation:mAP": logs.map_line(host, 3, value),
        "train:throughput": logs.throughput_line(host, value),
    }
    for name, line in lines.items():
        match = re.search(regex[name], line)
        assert match is not None, line
        assert float(match.group(1)) == value


def test_progress_reaches_a_hundred_at_the_last_epoch() -> None:
    values = [
        float(re.search(logs.METRICS[0].regex, logs.progress_line("h", n, 3)).group(1))  # type: ignore[union-attr]
        for n in (1, 2, 3)
    ]
    assert values == sorted(values)
    assert values[-1] == 100.0


def test_metric_definitions_fit_the_platforms_limits() -> None:
    definitions = logs.metric_definitions()
    assert [d["Name"] for d in definitions] == [m.name for m in logs.METRICS]
    assert len(definitions) <= 40
    assert all(set(d) == {"Name", "Regex"} and len(d["Regex"]) <= 500 for d in definitions)
    assert all(re.compile(d["Regex"]).groups == 1 for d in definitions)


def test_metrics_json_line_is_that_of_the_service() -> None:
    line = logs.metrics_json_line(
        1623111639.49,
        1623111639.5,
        logs.dimensions("algo-1", "init_train_data_iter"),
        {"Total Records Seen": 0},
    )
    assert line == (
        '#metrics {"StartTime": 1623111639.49, "EndTime": 1623111639.5, "Dimensions": '
        '{"Algorithm": "AWS/Object Detection", "Host": "algo-1", "Operation": "training", '
        '"Meta": "init_train_data_iter"}, "Metrics": {"Total Records Seen": '
        '{"sum": 0.0, "count": 1, "min": 0, "max": 0}}}'
    )


@pytest.mark.parametrize(
    ("meta", "epoch", "keys"),
    [
        pytest.param(None, None, [], id="the whole job"),
        pytest.param("init_train_data_iter", None, ["Meta"], id="before the first epoch"),
        pytest.param("training_data_iter", 0, ["epoch", "Meta"], id="after an epoch, also epoch 0"),
    ],
)
def test_dimensions(meta: str | None, epoch: int | None, keys: list[str]) -> None:
    assert list(logs.dimensions("algo-1", meta, epoch)) == ["Algorithm", "Host", "Operation", *keys]


def test_metrics_json_line_refuses_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        logs.metrics_json_line(0.0, 1.0, {}, {"a": float("nan")})


def test_iteration_counters_over_two_epochs() -> None:
    counters = logs.IterationCounters()
    assert set(counters.metrics().values()) == {0}
    counters.reset()
    for size in (16, 16, 4):
        counters.batch(size)
    counters.reset()
    counters.batch(16)
    assert counters.metrics() == {
        "Total Records Seen": 52,
        "Total Batches Seen": 4,
        "Max Records Seen Between Resets": 36,
        "Max Batches Seen Between Resets": 3,
        "Reset Count": 2,
        "Number of Records Since Last Reset": 16,
        "Number of Batches Since Last Reset": 1,
    }
    json.loads(logs.metrics_json_line(0.0, 1.0, {}, counters.metrics()).removeprefix("#metrics "))


@pytest.mark.usefixtures("restored_logging")
def test_log_lines_have_the_services_head() -> None:
    stream = io.StringIO()
    logs.setup(stream)
    logging.getLogger("any.module").info("text %d", 1)
    logging.getLogger("any.module").debug("not shown")
    assert re.fullmatch(r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] text 1\n", stream.getvalue())


@pytest.mark.usefixtures("restored_logging")
def test_a_second_setup_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.setup(first)
    logs.setup(second)
    logging.getLogger().info("text")
    assert (first.getvalue(), second.getvalue().count("text")) == ("", 1)


@pytest.mark.usefixtures("restored_logging")
def test_warnings_of_libraries_are_logged() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.setup(stream)
        warnings.warn("old interface", stacklevel=1)
        logging.captureWarnings(False)
    assert "WARNING" in stream.getvalue()
    assert "old interface" in stream.getvalue()


@pytest.mark.usefixtures("restored_logging")
def test_the_default_is_the_stdout_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup()
    logging.getLogger().info("text")
    assert capsys.readouterr().out.endswith("] text\n")


@pytest.mark.usefixtures("restored_logging")
def test_a_file_name_that_is_not_unicode_does_not_lose_the_line() -> None:
    buffer = io.BytesIO()
    logs.setup(io.TextIOWrapper(buffer, encoding="utf-8"))
    logging.getLogger().info(b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert buffer.getvalue().endswith(b"] caf\\udce9\n")

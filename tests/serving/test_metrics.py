from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

from sagemaker_object_detection.serving.metrics import FOLDER_VARIABLE, Metrics, forget_worker
from sagemaker_object_detection.serving.trace import Trace
from tests.serving.exposition import Samples, samples


def _shown(page: Metrics) -> Samples:
    return samples(page.page()[0].decode())


def test_requests_by_path_and_code() -> None:
    numbers = Metrics()
    for status in (200, 200, 400):
        numbers.answered(Trace(total=0.1), "/invocations", status)
    numbers.answered(Trace(total=0.1), "/ping", 503)
    shown = _shown(numbers)
    name = "object_detection_requests_total"
    assert shown[name, ("code", "200"), ("path", "/invocations")] == 2
    assert shown[name, ("code", "400"), ("path", "/invocations")] == 1
    assert shown[name, ("code", "503"), ("path", "/ping")] == 1
    assert shown["object_detection_request_seconds_count",] == 3  # a /ping is no prediction


def test_stages() -> None:
    numbers = Metrics()
    numbers.answered(Trace(seconds={"decode": 0.004, "model": 0.3}), "/invocations", 200)
    numbers.answered(Trace(seconds={"decode": 0.006}), "/invocations", 503)
    shown = _shown(numbers)
    name = "object_detection_stage_seconds"
    assert shown[f"{name}_count", ("stage", "decode")] == 2
    assert shown[f"{name}_sum", ("stage", "decode")] == pytest.approx(0.01)
    assert shown[f"{name}_bucket", ("le", "0.005"), ("stage", "decode")] == 1
    assert shown[f"{name}_bucket", ("le", "0.3"), ("stage", "model")] == 1
    assert shown[f"{name}_count", ("stage", "encode")] == 0  # there from the start


def test_batches_and_queue() -> None:
    numbers = Metrics()
    numbers.queued(+1)
    numbers.queued(+1)
    numbers.queued(-1)
    numbers.ran(1)
    numbers.ran(3)
    shown = _shown(numbers)
    assert shown["object_detection_queue_length",] == 1
    assert shown["object_detection_batch_size_bucket", ("le", "1.0")] == 1
    assert shown["object_detection_batch_size_bucket", ("le", "4.0")] == 2
    assert shown["object_detection_batch_size_sum",] == 4


@pytest.mark.parametrize(
    ("accept", "parse", "kind"),
    [
        pytest.param("", plain, "text/plain", id="a browser, curl"),
        pytest.param("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", plain, "text/plain", id="text"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            open_metrics,
            "application/openmetrics-text",
            id="Prometheus",
        ),
    ],
)
def test_forms_of_the_page(accept: str, parse: object, kind: str) -> None:
    body, content_type = Metrics().page(accept)
    assert content_type.startswith(kind)
    assert callable(parse)
    families = [one for one in parse(body.decode()) if not one.name.endswith("_created")]
    assert len(families) == 5
    assert all(family.documentation for family in families)


WORKER = """
import sys
from pathlib import Path
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.trace import Trace
numbers = Metrics(Path(sys.argv[1]))
numbers.answered(Trace(total=0.1, seconds={"model": 0.05}), "/invocations", 200)
numbers.queued(int(sys.argv[2]))
numbers.ran(2)
print("ready", flush=True)
sys.stdin.read()
"""

READER = """
import sys
from pathlib import Path
from sagemaker_object_detection.serving.metrics import Metrics
sys.stdout.buffer.write(Metrics(Path(sys.argv[1])).page()[0])
"""


def _environ(folder: Path) -> dict[str, str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, FOLDER_VARIABLE: str(folder), "PYTHONPATH": paths}


def _read(folder: Path) -> Samples:
    command = [sys.executable, "-c", READER, str(folder)]
    run = subprocess.run(command, env=_environ(folder), capture_output=True, check=True, text=True)
    return samples(run.stdout)


def test_workers_are_added_up_and_the_dead_leave_the_queue(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(waiting)],
            env=_environ(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for waiting in (3, 4)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
        shown = _read(tmp_path)
        requests = "object_detection_requests_total", ("code", "200"), ("path", "/invocations")
        assert shown[requests] == 2
        assert shown["object_detection_batch_size_sum",] == 4
        assert shown["object_detection_queue_length",] == 7
        workers[0].kill()
        workers[0].wait()
        forget_worker(tmp_path, workers[0].pid)
        forget_worker(tmp_path, workers[0].pid)  # nothing is left to forget
        shown = _read(tmp_path)
        assert shown["object_detection_queue_length",] == 4
        assert shown[requests] == 2
        assert shown["object_detection_stage_seconds_count", ("stage", "model")] == 2
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_a_worker_killed_while_it_made_a_file(tmp_path: Path) -> None:
    (tmp_path / "histogram_4711.db").touch()
    forget_worker(tmp_path, 4711)
    assert _read(tmp_path)["object_detection_queue_length",] == 0

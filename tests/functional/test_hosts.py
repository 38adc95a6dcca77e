"""Jobs on several hosts: network namespaces, real processes, real failures."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.boxes import from_px
from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import pack
from sagemaker_object_detection.platform.network import PORTS
from tests.fifo import Feeder, record
from tests.hosts import INTERFACE, Network, network, why_no_namespaces
from tests.training_job import TrainingJob, picture, pictures, write_recordio

pytestmark = [
    pytest.mark.skipif(bool(why_no_namespaces()), reason=f"namespaces: {why_no_namespaces()}"),
    pytest.mark.timeout(900),
]

needs_horovod = pytest.mark.skipif(
    importlib.util.find_spec("horovod") is None, reason="Horovod is not built: make horovod"
)
KVSTORE: Mapping[str, object] = {}
HOROVOD: Mapping[str, object] = {"distribution": "horovod"}
FORMS = [
    pytest.param(KVSTORE, id="kvstore"),
    pytest.param(HOROVOD, id="horovod", marks=needs_horovod),
]
WORKER, NODE = "training.worker", "training.kvstore_node"
LONG = {"epochs": 1000, "mini_batch_size": 1}
"""A job that is still training when something happens to it."""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path, 2) as hosts:
        yield hosts


def _job(**given: object) -> Callable[[TrainingJob], None]:
    return lambda job: job.recordio(pictures(0, 8), pictures(20, 5), **given)


def _resumable(**given: object) -> Callable[[TrainingJob], None]:
    """A job with checkpoints."""

    def make(job: TrainingJob) -> None:
        _job(**given)(job)
        job.paths.checkpoint_config_file.write_text('{"LocalPath": "/opt/ml/checkpoints"}')

    return make


def _failures(hosts: Network) -> list[str]:
    return [host.job.failure or "" for host in hosts.hosts]


def _scores(job: TrainingJob) -> list[float]:
    """Validation mAPs in the log, epoch after epoch."""
    return [float(x) for x in re.findall(r"validation mAP <score>=\((\S+)\)", job.log)]


def _listening(hosts: Network) -> list[tuple[str, int]]:
    """Address and port of every listening socket, on all hosts."""
    found = []
    for host in hosts.hosts:
        command = ["ip", "netns", "exec", host.namespace, "ss", "-Htln"]
        for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
            address, _, port = line.split()[3].rpartition(":")
            found.append((address, int(port)))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_job(form: Mapping[str, object], two: Network) -> None:
    """One model, one set of metrics, written by the first host alone; the score is that of the
    artefact on one process.
    """
    two.configure(_job(mini_batch_size=2, epochs=2, **form))
    two.start()
    two.wait_for("Weights are averaged")
    listening = _listening(two)
    assert listening
    addresses = {host.address for host in two.hosts}
    assert {address for address, _ in listening} <= addresses
    if not form:  # Gloo takes ports of the system's
        assert all(port in PORTS for _, port in listening)
    assert two.wait(120) == [0, 0], two[0].job.log[-2000:]
    first, second = (host.job for host in two.hosts)
    assert len(_scores(first)) == 2
    assert _scores(first) == _scores(second)
    assert "An update takes in 4 images" in first.log
    assert (first.paths.model_dir / "model_algo_1-0000.params").is_file()
    assert (first.paths.output_data_dir / "report.html").is_file()
    assert list(second.paths.model_dir.iterdir()) == []
    assert list(second.paths.output_data_dir.iterdir()) == []
    assert two.left_over() == []
    rows = (first.paths.output_data_dir / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3
    config = json.loads((first.paths.model_dir / "model.json").read_text())
    detected = json.loads((first.paths.output_data_dir / "detections.json").read_text())
    assert {row["image_id"] for row in detected} <= set(range(5))
    assert _evaluated(first) == pytest.approx(config["validation"]["mAP"], abs=1e-6)


def _evaluated(job: TrainingJob) -> float:
    """The artefact's mAP on the validation channel, by one process."""
    file = job.paths.base / "scores.json"
    program = Path(sys.executable).with_name("object-detection")
    channel = job.paths.channel_dir("validation")
    command = [program, "evaluate", job.paths.model_dir, channel, "--json", file]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return float(json.loads(file.read_text())["channels"]["validation"]["mAP"])


STEPS = int(os.environ.get("EQUALITY_STEPS", "4"))
"""docs/benchmarks.md has the figures of 20, and of other learning rates."""


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Weights after STEPS updates of a network without BatchNorm, by one process."""
    job = TrainingJob(tmp_path_factory.mktemp("one"))
    _equal_updates(2)(job)
    assert job.run(seconds=600) == 0, job.log[-2000:]
    return _weights(job)


def _equal_updates(mini_batch_size: int) -> Callable[[TrainingJob], None]:
    return lambda job: job.recordio(
        pictures(0, 2 * STEPS),
        pictures(60, 1),
        base_network="vgg-16",
        recipe="service",
        augmentation="none",
        learning_rate=os.environ.get("EQUALITY_RATE", "0.0001"),
        mini_batch_size=mini_batch_size,
    )


def _weights(job: TrainingJob) -> dict[str, Any]:
    import mxnet as mx

    path = job.paths.model_dir / "model_algo_1-0000.params"
    return {name: array.asnumpy() for name, array in mx.nd.load(str(path)).items()}


@pytest.mark.parametrize("form", FORMS)
def test_two_processes_have_the_weights_of_one(
    form: Mapping[str, object], of_one_process: dict[str, Any], two: Network
) -> None:
    """Same records in every update, and the loss divided by the positives of both."""

    def make(job: TrainingJob) -> None:
        _equal_updates(1)(job)
        job.change(**form)

    two.configure(make)
    assert two.run(600) == [0, 0], two[0].job.log[-2000:]
    assert f"batch={STEPS} train" in two[0].job.log
    weights = _weights(two[0].job)
    assert weights.keys() == of_one_process.keys()
    differences = {name: abs(weights[name] - of_one_process[name]).max() for name in weights}
    print(f"{STEPS} updates: largest difference {max(differences.values()):.2e}")
    assert max(differences.values()) < 1e-4, differences


def test_dist_async_runs_in_step(two: Network) -> None:
    two.configure(_job(mini_batch_size=2, epochs=1, kv_store="dist_async"))
    assert two.run() == [0, 0], two[0].job.log[-2000:]
    assert _scores(two[0].job) == _scores(two[1].job)
    assert "kv_store is dist_async: this container runs it in step" in two[0].job.log


def test_three_hosts_with_parts_of_their_own(tmp_path: Path) -> None:
    """ShardedByS3Key, of different sizes, with fewer records than others have batches."""
    with network(tmp_path, 3) as hosts:
        for number, host in enumerate(hosts.hosts):
            write_recordio(host.job.paths.channel_dir("train"), pictures(10 * number, 4 - number))
            write_recordio(
                host.job.paths.channel_dir("validation"), pictures(40 + 10 * number, 1 + number)
            )
        channel = {
            "ContentType": "application/x-recordio",
            "S3DistributionType": "ShardedByS3Key",
        }
        hosts.configure(
            lambda job: job.configure(
                {"train": channel, "validation": channel},
                num_training_samples=9,
                mini_batch_size=1,
                epochs=1,
            )
        )
        assert hosts.run() == [0, 0, 0], hosts[0].job.log[-2000:]
        job = hosts[0].job
        assert re.search(r"batch=4 train cross_entropy", job.log)
        truth = json.loads((job.paths.output_data_dir / "ground_truth.json").read_text())
        assert len(truth["images"]) == 6
        assert '"Total Records Seen": {"sum": 9.0' in job.log


def test_streams(two: Network) -> None:
    """Pipe mode: each host has its own FIFOs with all records, and uses its share of them."""

    def payloads(first: int, count: int) -> bytes:
        shown = pictures(first, count)
        labels = [pack_label(from_px(p.boxes_px, *p.size), p.class_ids) for p in shown]
        return b"".join(record(pack(x, 0, p.data)) for x, p in zip(labels, shown, strict=True))

    pipe = {"TrainingInputMode": "Pipe", "ContentType": "application/x-recordio"}
    two.configure(
        lambda job: job.configure(
            dict.fromkeys(("train", "validation"), pipe),
            num_training_samples=5,
            mini_batch_size=1,
            epochs=2,
        )
    )
    with ExitStack() as feeders:
        for host in two.hosts:
            for name, stream in (("train", payloads(0, 5)), ("validation", payloads(20, 3))):
                path = host.job.paths.channel_dir(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                feeders.enter_context(Feeder(path, [stream] * 2))
        assert two.run() == [0, 0], two[0].job.log[-2000:]
    for host in two.hosts:
        seen = re.findall(r'"Total Records Seen": {"sum": (\S+),', host.job.log)
        assert seen == ["0.0", "5.0", "10.0"]
    assert len(_scores(two[0].job)) == 2
    assert _scores(two[0].job) == _scores(two[1].job)


KILLED = [
    pytest.param(KVSTORE, 1, WORKER, "worker", "rank 1 on algo-2 was ended by signal 9", id="a"),
    pytest.param(KVSTORE, 0, WORKER, "worker", "rank 0 on algo-1 was ended by signal 9", id="b"),
    pytest.param(
        KVSTORE, 1, NODE, "server", "the kvstore's server on algo-2 was ended by signal 9", id="c"
    ),
    pytest.param(
        KVSTORE, 0, NODE, "scheduler", "the kvstore's scheduler on algo-1 was ended by", id="d"
    ),
    pytest.param(
        HOROVOD, 1, WORKER, "", "rank 1 on algo-2 was ended by", id="e", marks=needs_horovod
    ),
]


@pytest.mark.parametrize(("form", "host", "module", "role", "told"), KILLED)
def test_a_killed_process_ends_all(
    form: Mapping[str, object], host: int, module: str, role: str, told: str, two: Network
) -> None:
    two.configure(_job(**LONG, **form))
    two.start()
    two.wait_for("epoch=0, validation mAP")
    two[host].kill(module, role)
    begun = time.monotonic()
    assert two.wait(60) == [3, 3]
    assert time.monotonic() - begun < 30
    assert all(told in failure for failure in _failures(two)), _failures(two)
    assert two.left_over() == []


@pytest.mark.parametrize("form", FORMS)
def test_a_process_that_hangs_ends_all(form: Mapping[str, object], two: Network) -> None:
    two.configure(_job(**LONG, **form))
    two.start()
    two.wait_for("epoch=0, validation mAP")
    two[1].kill(WORKER, "" if form else "worker", signal.SIGSTOP)
    assert two.wait(60) == [3, 3]
    for failure in _failures(two):
        assert "rank 1 on algo-2 has given no sign of life" in failure
    assert two.left_over() == []


@pytest.mark.parametrize(
    ("form", "host", "moment"),
    [
        pytest.param(KVSTORE, 0, "train together", id="met"),
        pytest.param(KVSTORE, 1, "Channel 'validation' checked", id="checked"),
        pytest.param(KVSTORE, 0, "Weights are averaged", id="kvstore connects"),
        pytest.param(HOROVOD, 1, "Weights are averaged", id="Horovod", marks=needs_horovod),
    ],
)
def test_stopped_while_it_starts(
    form: Mapping[str, object], host: int, moment: str, two: Network
) -> None:
    """SIGTERM on one host before the first batch: all leave, none has failed."""
    two.configure(_job(**LONG, **form))
    two.start()
    two.wait_for(moment)
    two[host].terminate()
    assert two.wait(60) == [0, 0], [host.job.log[-2000:] for host in two.hosts]
    assert _failures(two) == ["", ""]
    assert two.left_over() == []


def test_stopped_while_it_waits_for_others(two: Network) -> None:
    """They do not begin either when they come."""
    two.configure(_job(**LONG))
    two[0].start()
    time.sleep(3)
    two[0].terminate()
    two[1].start()
    assert two.wait(30) == [0, 0], [host.job.log[-2000:] for host in two.hosts]
    assert _failures(two) == ["", ""]


def test_a_server_that_is_stopped_ends_all(two: Network) -> None:
    two.configure(_job(**LONG))
    two.start()
    two.wait_for("epoch=0, validation mAP")
    two[1].kill(NODE, "server", signal.SIGSTOP)
    assert two.wait(60) == [3, 3]
    for failure in _failures(two):
        assert "the kvstore's server on algo-2 has been stopped" in failure
    assert two.left_over() == []


def test_a_host_that_is_killed_whole(two: Network) -> None:
    """Its ./train is gone: nothing of it stays, and the other host ends too."""
    two.configure(_job(**LONG))
    two.start()
    two.wait_for("epoch=0, validation mAP")
    assert two[1].process is not None
    two[1].process.kill()
    assert two.wait(60) == [3, -signal.SIGKILL]
    assert "rank 1 on algo-2 is gone" in _failures(two)[0]
    assert two.left_over() == []


@pytest.mark.parametrize("form", FORMS)
def test_networks_that_falter_and_jobs_that_go_on(form: Mapping[str, object], two: Network) -> None:
    """A host that is cut off for 5 s goes on; SIGTERM stops all at one batch; a job that is started
    again goes on there; a host that is cut off for good ends all.
    """
    checkpoints = two[0].job.paths.base / "checkpoints"
    two.configure(_resumable(**LONG, **form))
    two.start()
    two.wait_for("epoch=0, validation mAP")
    two[1].link("down")
    time.sleep(5)
    two[1].link("up")
    two.wait_for(f"epoch={len(_scores(two[0].job)) + 1}, validation mAP")
    two[1].terminate()
    assert two.wait(30) == [0, 0], two[0].job.log[-2000:]
    assert two.left_over() == []
    assert "Another host was asked to stop" in two[0].job.log
    assert (two[0].job.paths.model_dir / "model.json").is_file()
    (saved,) = re.findall(r"Checkpoint of epoch \d+: (\S+)", two[0].job.log)[-1:]
    assert Path(saved).parent == checkpoints
    assert not (two[1].job.paths.base / "checkpoints").exists()

    two.start()
    two.wait_for("Training goes on from")
    assert f"Training goes on from {saved}" in two[0].job.log
    where = [re.search(r"goes on from .*: (epoch .*)", h.job.log) for h in two.hosts]
    assert where[0] is not None
    assert where[1] is not None
    assert where[0][1] == where[1][1]
    two.wait_for("validation mAP")
    two[1].link("down")
    assert two.wait(60) == [3, 3]
    assert "rank 1 on algo-2 has given no sign of life" in _failures(two)[0]
    assert two.left_over() == []


@pytest.mark.parametrize("form", FORMS)
def test_a_slow_network(form: Mapping[str, object], tmp_path: Path) -> None:
    """50 ms from host to host."""
    with network(tmp_path, 2, delay=0.05) as hosts:
        hosts.configure(_job(mini_batch_size=4, **form))
        assert hosts.run(240) == [0, 0], hosts[0].job.log[-2000:]
        assert _scores(hosts[0].job) == _scores(hosts[1].job)


def test_what_one_host_finds_wrong_all_tell(two: Network) -> None:
    two.configure(_job())
    write_recordio(
        two[1].job.paths.channel_dir("train"), [picture(0).with_boxes((5, 5, 50, 50), class_id=7)]
    )
    assert two.run() == [2, 2]
    for failure in _failures(two):
        assert failure.startswith("ClientError: rank 1 on algo-2: ")
        assert "class_id" in failure
    assert two.left_over() == []


def test_a_host_that_cannot_begin(two: Network) -> None:
    """The others do not wait for it. The SDK's local mode names an interface that none has."""
    two.configure(_job(), "ethwe")
    for host in two.hosts:
        host.add_default_route()
    two[1].job.change(num_classes="many")
    assert two.run(60) == [2, 2]
    for failure in _failures(two):
        assert "Hyperparameter num_classes: 'many'" in failure
    assert _failures(two)[0].startswith("ClientError: rank 1 on algo-2: ")
    for host in two.hosts:  # one as it trains, the other as it tells why it does not
        assert host.job.log.count("Network interface: eth0, which has the default route") == 1


def test_hosts_with_different_jobs(two: Network) -> None:
    two.configure(_job())
    two[1].job.configure(dict.fromkeys(("train", "validation"), "application/x-recordio"), seed=3)
    host = {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]}
    two[1].job.paths.resource_config_file.write_text(
        json.dumps({**host, "network_interface_name": INTERFACE})
    )
    assert two.run() == [2, 2]
    assert "do not have the same job: hyperparameters differ" in _failures(two)[0]
    assert "seed: '3', '0'" in _failures(two)[0]


def test_an_interface_that_is_not_there(two: Network) -> None:
    two.configure(_job())
    host = {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}
    two[0].job.paths.resource_config_file.write_text(
        json.dumps({**host, "network_interface_name": "ib7"})
    )
    two[0].start()
    assert two[0].wait(30) == 3
    assert "'ib7' has no IPv4 address" in _failures(two)[0]
    assert "lo, eth0" in _failures(two)[0]


def test_ctrl_c_on_one_host(two: Network) -> None:
    two.configure(_job(**LONG))
    two.start()
    two.wait_for("epoch=0, validation mAP")
    assert two[0].process is not None
    two[0].process.send_signal(signal.SIGINT)
    assert two.wait(60) == [130, 3]
    assert "rank 0 on algo-1: it was interrupted by Ctrl-C" in _failures(two)[1]
    assert two.left_over() == []

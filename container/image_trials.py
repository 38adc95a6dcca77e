"""What any of the images has to do: train and serve as the platform has it, and Horovod."""

import json
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from image_tool import Tool, is_healthy, running, stop, wait_until

IMAGES = {"train": 24, "validation": 8}
HYPERPARAMETERS: dict[str, object] = {
    "base_network": "mobilenet1.0",
    "image_shape": 300,
    "num_classes": 3,
    "num_training_samples": IMAGES["train"],
    "mini_batch_size": 4,
    "epochs": 1,
    "use_pretrained_model": 0,
}
ARTEFACT = {
    "hyperparams.json",
    "model.json",
    "model_algo_1-0000.params",
    "model_algo_1-symbol.json",
}
SITE = "/opt/venv/lib/python3.11/site-packages"
# Neither the owner of anything in the image nor known to it by name.
NOBODY = 10017


def make_job(base: Path, changes: dict[str, object]) -> None:
    """An /opt/ml for training: drawn pictures in RecordIO channels, and the job's description."""
    from sagemaker_object_detection.platform.paths import Paths
    from sagemaker_object_detection.tools.demo import write_config
    from sagemaker_object_detection.tools.demo_data import write_channels

    paths = Paths(base)
    write_channels(paths.data_dir, IMAGES, seed=1)
    write_config(paths, HYPERPARAMETERS | changes, IMAGES)
    for folder in (paths.model_dir, paths.output_data_dir):
        folder.mkdir(parents=True)


def train(tool: Tool, base: Path, changes: dict[str, object]) -> str:
    """Train to the end; the log."""
    make_job(base, changes)
    with running(tool, base, "train") as (process, log):
        assert process.wait(600) == 0
        assert {file.name for file in (base / "model").iterdir()} >= ARTEFACT
        assert not (base / "output/failure").exists()
        return log()


def serve(tool: Tool, base: Path, options: Sequence[str] = ()) -> str:
    """Serve, ask for one picture and stop; the log."""
    from sagemaker_object_detection.tools.demo import free_port
    from sagemaker_object_detection.tools.demo_data import scene

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with running(tool, base, "serve", port, options) as (process, log):
        wait_until(lambda: is_healthy(address) or process.poll() is not None, 120, "/ping")
        request = urllib.request.Request(
            f"{address}/invocations", scene(2, 0).jpeg(), {"Content-Type": "image/jpeg"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            predictions = json.load(response)["predictions"]
        assert predictions, "even a model that has seen little answers with low scores"
        assert all({"class_id", "score", "bbox"} <= set(row) for row in predictions)
        stop(process)
        return log()


def test_wrong_job_is_refused(tool: Tool, folder: Path) -> None:
    make_job(folder / "ml", {"epochs": "many"})
    with running(tool, folder / "ml", "train") as (process, _):
        assert process.wait(120) == 2
        assert "epochs" in (folder / "ml/output/failure").read_text()


def test_training_is_stopped_by_sigterm(tool: Tool, folder: Path) -> None:
    make_job(folder / "ml", {"epochs": 500})
    with running(tool, folder / "ml", "train") as (process, log):
        wait_until(lambda: "#progress_metric" in log() or process.poll() is not None, 300, "epoch")
        stop(process)
    assert {file.name for file in (folder / "ml/model").iterdir()} >= ARTEFACT


def test_train_then_serve(tool: Tool, folder: Path) -> None:
    """As root as the platform does it; then as anybody, who can write nothing but /tmp."""
    train(tool, folder / "ml", {})
    for engine in ("openvino", "mxnet"):
        serve(tool, folder / "ml", ["-e", f"OBJECT_DETECTION_ENGINE={engine}"])

    model = folder / "read-only/model"
    shutil.copytree(folder / "ml/model", model)
    model.parent.chmod(0o755)
    before = {file.name: file.stat().st_mtime_ns for file in model.iterdir()}
    for engine in ("openvino", "mxnet"):
        options = ["-v", f"{model}:/opt/ml/model:ro", "--user", f"{NOBODY}:{NOBODY}"]
        options += ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"]
        serve(tool, folder / "read-only", [*options, "-e", f"OBJECT_DETECTION_ENGINE={engine}"])
    assert before == {file.name: file.stat().st_mtime_ns for file in model.iterdir()}


def test_horovod_trains_with_two_processes(tool: Tool, folder: Path) -> None:
    """Two processors stand for two cards: a process for each, as on a machine with both."""
    two = Tool(tool.name, tool.tag, (*tool.options, "-e", "OBJECT_DETECTION_CPU_DEVICES=2"))
    log = train(two, folder / "ml", {"distribution": "horovod"})
    assert "2 processes on 1 host train together by horovod" in log


def test_nothing_to_build_with(tool: Tool, folder: Path) -> None:
    """No compiler, no pip, no cache, no source or header of C."""
    kept = "find /root/.cache /var/lib/apt/lists /var/cache/apt -type f"
    sources = r"find /opt /usr/include -name '*.a' -o -name '*.cc' -o -name '*.h' -o -name '*.hpp'"
    for command in ("command -v gcc g++ cc make cmake nvcc pip pip3", kept, sources):
        assert tool.ask(["sh", "-c", f"{command} 2>/dev/null || true"]) == "", command


def test_it_is_small(tool: Tool, folder: Path) -> None:
    """Uncompressed, 1.3 GB for processors and 5.5 GB for cards."""
    listed = tool.ask(["sh", "-c", f"du -sxb / 2>/dev/null; ls {SITE}"]).split()
    limit = 5.5e9 if "nvidia" in listed else 1.3e9
    assert int(listed[0]) <= limit


TRIALS = (
    test_nothing_to_build_with,
    test_it_is_small,
    test_wrong_job_is_refused,
    test_train_then_serve,
    test_horovod_trains_with_two_processes,
    test_training_is_stopped_by_sigterm,
)

"""mAP, milliseconds and megabytes of a model's twins, one beside the other in one run.

python benchmarks/twins.py MODEL_FOLDER [--rounds 5] [--threads 2] [--others PYTHON]
MODEL_FOLDER: the artefact of a job on BCCD. Calibrated on the validation split, scored on the
validation and the test split. PYTHON: of an environment with nncf, onnxruntime and ml_dtypes, to
compare their quantisers with ours. Engines take turns picture by picture, and the time that the
processor was at work stands beside the time that passed: machines are noisy.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import data
import numpy as np

if TYPE_CHECKING:
    from sagemaker_object_detection.inference.predictor import Engine

PICTURES = 8
PERCENTILE = 10

ONNXRUNTIME = """
import sys
import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process

source, images, target = sys.argv[1:]

class Reader(CalibrationDataReader):
    def __init__(self):
        self.images = iter(np.load(images))
    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"data": image[None].astype("float32")}

folded = target + ".folded"
quant_pre_process(source, folded, skip_symbolic_shape=True, skip_onnx_shape=True)
quantize_static(folded, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
    op_types_to_quantize=["Conv"], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    calibrate_method=CalibrationMethod.MinMax)
"""
NNCF = """
import sys
import nncf
import numpy as np
import openvino

source, images, target = sys.argv[1:]
pictures = list(np.load(images))
dataset = nncf.Dataset(pictures, lambda picture: picture[None].astype("float32"))
model = openvino.Core().read_model(source)
openvino.save_model(
    nncf.quantize(model, dataset, subset_size=len(pictures)), target, compress_to_fp16=False)
"""


def make_files(
    model: Path, scratch: Path, images: np.ndarray[Any, Any], threads: int, others: str | None
) -> dict[str, Path]:
    """INT8 files by the name of the quantiser; the artefact in `scratch` gets ours."""
    from sagemaker_object_detection.inference.twins import make_twins
    from sagemaker_object_detection.model import artifact

    for name in (artifact.MODEL_FILE, artifact.SYMBOL_FILE, artifact.PARAMS_FILE):
        shutil.copy(model / name, scratch / name)
    started = time.process_time()
    float_twin, ours = make_twins(scratch, [images], threads)
    print(f"made both twins in {time.process_time() - started:.0f} s of CPU time")
    files = {"ours": ours}
    if others:
        calibration = scratch / "images.npy"
        np.save(calibration, images)
        for name, program, ending in (("onnxruntime", ONNXRUNTIME, "onnx"), ("nncf", NNCF, "xml")):
            files[name] = scratch / f"{name}.{ending}"
            command = [others, "-W", "ignore", "-c", program]
            command += [str(float_twin), str(calibration), str(files[name])]
            subprocess.run(command, check=True, capture_output=True)
    return files


def read_split(name: str, image_shape: int, threads: int) -> list[Any]:
    """The batches of a split of BCCD, with their truth."""
    from sagemaker_object_detection.data.gate import pass_gate
    from sagemaker_object_detection.data.loader import Loader
    from sagemaker_object_detection.data.sources import RecordIOSource

    source = RecordIOSource([data.bccd() / name / f"{name}.rec"])
    dataset, _ = pass_gate(name, source, data.NUM_CLASSES, threads)
    return list(Loader(dataset, image_shape, threads).evaluation_pass(8))


def mean_ap(engine: Engine, batches: list[Any]) -> float:
    """mAP at an IoU of 0.5, as training computes it."""
    from sagemaker_object_detection.evaluation.average_precision import score
    from sagemaker_object_detection.evaluation.evaluate import evaluate

    results = evaluate(engine, batches)
    assert results is not None
    return score(results, data.NUM_CLASSES, 0.5).mean


def time_engines(
    engines: Mapping[str, Engine], images: np.ndarray[Any, Any], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds that passed, and of processor time, of each picture; the engines in turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for _ in range(rounds):
        for image in images[:PICTURES]:
            for name, engine in engines.items():
                started = (time.perf_counter(), time.process_time())
                engine.detect(image[None])
                passed = time.perf_counter() - started[0]
                times[name].append((1000 * passed, 1000 * (time.process_time() - started[1])))
    return times


def main() -> None:
    """Make the files, score them, time them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--others", help="Python with nncf, onnxruntime and ml_dtypes")
    options = parser.parse_args()

    from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
    from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine
    from sagemaker_object_detection.model import artifact

    config = artifact.read_config(options.model)
    splits = {
        name: read_split(name, config.image_shape, options.threads)
        for name in ("validation", "test")
    }
    images = np.concatenate([batch.images[batch.records >= 0] for batch in splits["validation"]])
    print(data.machine(), config.base_network, config.image_shape, "px", options.threads, "threads")
    with TemporaryDirectory() as name:
        scratch = Path(name)
        files = make_files(options.model, scratch, images, options.threads, options.others)
        engines: dict[str, Any] = {
            "MXNet float32": MXNetEngine.from_folder(scratch),
            "float32": OpenVINOEngine.from_folder(scratch, "float32", options.threads),
            "bfloat16": OpenVINOEngine.from_folder(scratch, "bfloat16", options.threads),
        }
        for maker, path in files.items():
            engines[f"int8, {maker}"] = OpenVINOEngine(path, "int8", options.threads)
        sizes = {path.name: path.stat().st_size >> 20 for path in sorted(scratch.iterdir())}
        print("MiB:", sizes)
        for engine in engines.values():
            engine.warm_up()
        times = time_engines(engines, images, options.rounds)
        print(f"{'engine':20s} {'validation':>10s} {'test':>8s} {'ms':>8s} {'CPU ms':>8s}")
        for label, engine in engines.items():
            scores = [mean_ap(engine, batches) for batches in splits.values()]
            passed, worked = np.percentile(times[label], PERCENTILE, axis=0)
            print(f"{label:20s} {scores[0]:10.4f} {scores[1]:8.4f} {passed:8.1f} {worked:8.1f}")


if __name__ == "__main__":
    main()

"""Build a container image, and try it as the platform uses it.

    container/image.py --tool docker --device cpu --tag TAG build test

The tool is a container engine with docker's command line, or any program that knows
`build TAG [OPTIONS]` and `run [OPTIONS] TAG COMMAND...` (on the host's network). What is tried of
the GPU image needs no card; `make gpu-test` is for a machine that has one.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import gpu_image_trials
import image_trials
from image_tool import Tool, Trial, run_trials

DEVICES = ("cpu", "gpu", "kepler")

_WITH_HOROVOD = (
    image_trials.test_horovod_trains_with_two_processes,
    gpu_image_trials.test_it_loads_with_a_driver,
)


def run(tool: Tool, trials: Sequence[Trial], device: str) -> None:
    """All trials that hold for an image; the one for Kepler has no Horovod."""
    left_out = _WITH_HOROVOD if device == "kepler" else ()
    run_trials(tool, [trial for trial in trials if trial not in left_out])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tool", default="docker")
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    parser.add_argument("--weights", default="none", help="see docs/weights.md")
    parser.add_argument("--tag")
    parser.add_argument("verbs", nargs="+", choices=["build", "test"])
    options = parser.parse_args()
    tool = Tool(options.tool, options.tag or f"sagemaker-object-detection:{options.device}")
    if "build" in options.verbs:
        tool.build(options.device, options.weights)
    if "test" in options.verbs and options.device == "cpu":
        run(tool, image_trials.TRIALS, options.device)
    elif "test" in options.verbs:
        run(tool, gpu_image_trials.TRIALS, options.device)
        with tempfile.TemporaryDirectory() as folder:
            driven = gpu_image_trials.with_driver(tool, Path(folder))
            run(driven, image_trials.TRIALS, options.device)


if __name__ == "__main__":
    main()

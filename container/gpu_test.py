"""Build the GPU image and try it on a machine with a card: training, float16, Horovod, serving.

    container/gpu_test.py --tool docker --device gpu --tag TAG --options=--gpus=all

Refuses where there is no card. What can be tried of the image without one is
`container/image.py --device gpu test`.
"""

import argparse
import sys
from pathlib import Path

from image_tool import Tool, run_trials
from image_trials import serve, train

DRIVER = Path("/dev/nvidiactl")

# A step through convolution, normalisation and matrices, against the processor's.
_STEP = """
import warnings
warnings.simplefilter("ignore")
import mxnet as mx, numpy as np

images = np.random.default_rng(1).random((4, 3, 32, 32)).astype("float32")

def step(ctx, dtype):
    mx.random.seed(1)
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(16, 3), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Dense(10))
    net.initialize(mx.init.Xavier())
    net(mx.nd.array(images))  # now it has its weights, the same on both
    net.collect_params().reset_ctx(ctx)
    net.cast(dtype)
    net.hybridize()
    with mx.autograd.record():
        loss = (net(mx.nd.array(images, ctx=ctx, dtype=dtype)) - 1).square().mean()
    loss.backward()
    gradient = net[2].weight.grad(ctx).astype("float32").abs().sum()
    return np.array([value.astype("float32").asscalar() for value in (loss, gradient)])

expected = step(mx.cpu(), "float32")
for dtype, tolerance in (("float32", 1e-3), ("float16", 5e-2)):
    seen = step(mx.gpu(0), dtype)
    assert np.allclose(seen, expected, rtol=tolerance), (dtype, seen, expected)
print(mx.context.num_gpus())
"""


def count_cards(tool: Tool) -> int:
    """GPUs that MXNet sees in the container."""
    counted = "import mxnet; print(mxnet.context.num_gpus())"
    return int(tool.ask(["python", "-W", "ignore", "-c", counted]).split()[-1])


def test_a_step_equals_the_processors(tool: Tool, folder: Path) -> None:
    assert int(tool.ask(["python", "-c", _STEP]).split()[-1]) >= 1


def test_train_in_float32_then_serve(tool: Tool, folder: Path) -> None:
    log = train(tool, folder / "ml", {"precision": "float32", "mini_batch_size": 8})
    assert "Training on gpu(0)" in log
    log = serve(tool, folder / "ml")
    assert "Engine mxnet: this machine has a GPU" in log
    assert "MXNet on gpu(0)" in log


def test_train_in_float16(tool: Tool, folder: Path) -> None:
    log = train(tool, folder / "ml", {"precision": "float16", "mini_batch_size": 8})
    assert "computing in float16" in log


def test_horovod_by_nccl(tool: Tool, folder: Path) -> None:
    """A process for each card; with one card there is nobody to talk to."""
    cards = count_cards(tool)
    log = train(tool, folder / "ml", {"distribution": "horovod", "mini_batch_size": 8})
    assert cards == 1 or f"{cards} processes on 1 host train together by horovod" in log


TRIALS = {
    "gpu": (
        test_a_step_equals_the_processors,
        test_train_in_float32_then_serve,
        test_train_in_float16,
        test_horovod_by_nccl,
    ),
    # Neither float16 nor Horovod: docs/image.md.
    "kepler": (test_train_in_float32_then_serve,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tool", default="docker")
    parser.add_argument("--device", default="gpu", choices=TRIALS)
    parser.add_argument("--tag", help="default: sagemaker-object-detection:DEVICE")
    parser.add_argument("--options", default="--gpus=all", help="what gives a container the cards")
    options = parser.parse_args()
    if not DRIVER.exists():
        sys.exit(
            f"gpu-test: needs an NVIDIA card with its driver, and this machine has no {DRIVER}. "
            "Run it where there is one; `make gpu-image-test` tries what needs no card."
        )
    tag = options.tag or f"sagemaker-object-detection:{options.device}"
    tool = Tool(options.tool, tag, tuple(options.options.split()))
    tool.build(options.device)
    run_trials(tool, TRIALS[options.device])


if __name__ == "__main__":
    main()

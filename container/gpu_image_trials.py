"""What the GPU image has to do where there is no card.

Nothing but the driver is missing from it; with a driver that finds no card (driver_without_card.c)
it loads and does all that the CPU image does.
"""

import json
import subprocess
from pathlib import Path

from image_tool import Tool, running
from image_trials import SITE, make_job

_DRIVER = "libcuda.so.1"
_LISTED = rf"find {SITE}/mxnet {SITE}/horovod {SITE}/nvidia -name '*.so*' -type f"

# Each part of cuDNN that is in the image, loaded through the function that checks its version.
_LOADED = """
import ctypes, json, subprocess, warnings
warnings.simplefilter("ignore")
import mxnet, horovod.mxnet
cudnn = ctypes.CDLL("libcudnn.so.8")
parts = ("OpsInfer", "OpsTrain", "CnnInfer", "CnnTrain")
print(json.dumps({
    "cudnn": {part: getattr(cudnn, f"cudnn{part}VersionCheck")() for part in parts},
    "features": [name for name, value in mxnet.runtime.Features().items() if value.enabled],
    "gpus": mxnet.context.num_gpus(),
    "gloo": bool(horovod.mxnet.gloo_built()),
    "nccl": bool(horovod.mxnet.nccl_built()),
}))
"""


def with_driver(tool: Tool, folder: Path) -> Tool:
    """The tool whose containers have a driver, without a card, where a real one is mounted."""
    driver = folder / _DRIVER
    source = Path(__file__).with_name("driver_without_card.c")
    soname = f"-Wl,-soname,{_DRIVER}"
    subprocess.run(["gcc", "-shared", "-fPIC", soname, "-o", driver, source], check=True)
    mounted = ("-v", f"{driver}:/usr/lib/x86_64-linux-gnu/{_DRIVER}:ro")
    return Tool(tool.name, tool.tag, (*tool.options, *mounted))


def missing_libraries(listing: str) -> set[str]:
    """Names that `ldd` did not find."""
    return {line.split()[0] for line in listing.splitlines() if line.endswith("not found")}


def test_only_the_driver_is_missing(tool: Tool, folder: Path) -> None:
    """Of every library in the image, and with the driver nothing is."""
    command = ["sh", "-c", f"for library in $({_LISTED}); do ldd $library; done"]
    assert missing_libraries(tool.ask(command)) == {_DRIVER}
    assert missing_libraries(with_driver(tool, folder).ask(command)) == set()


def test_it_loads_with_a_driver(tool: Tool, folder: Path) -> None:
    loaded = json.loads(with_driver(tool, folder).ask(["python", "-c", _LOADED]).splitlines()[-1])
    assert {"CUDA", "CUDNN", "NCCL", "DIST_KVSTORE"} <= set(loaded["features"])
    assert loaded["cudnn"] == dict.fromkeys(loaded["cudnn"], 0)
    assert (loaded["gloo"], loaded["nccl"], loaded["gpus"]) == (True, True, 0)


def test_settings_for_the_container_runtime(tool: Tool, folder: Path) -> None:
    environment = set(tool.ask(["env"]).splitlines())
    assert {
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "MXNET_USE_FUSION=0",
    } <= environment


def test_without_a_driver_training_says_so(tool: Tool, folder: Path) -> None:
    make_job(folder / "ml", {})
    with running(tool, folder / "ml", "train") as (process, _):
        assert process.wait(120) == 3
        assert _DRIVER in (folder / "ml/output/failure").read_text()


TRIALS = (
    test_only_the_driver_is_missing,
    test_it_loads_with_a_driver,
    test_settings_for_the_container_runtime,
    test_without_a_driver_training_says_so,
)

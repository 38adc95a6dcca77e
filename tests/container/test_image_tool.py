"""The command lines for container engines and for scripts that stand in for one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from gpu_image_trials import missing_libraries, with_driver
from image_tool import Tool

ARGUMENTS = "--build-arg DEVICE=gpu --build-arg WEIGHTS=imagenet"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("docker", ["docker", "run", "--rm"], id="an engine keeps containers"),
        pytest.param("/usr/bin/podman", ["/usr/bin/podman", "run", "--rm"], id="by its path"),
        pytest.param("/opt/image", ["/opt/image", "run"], id="a script removes them itself"),
    ],
)
def test_run(name: str, expected: list[str]) -> None:
    tool = Tool(name, "some:tag", ("--gpus=all",))
    assert tool.command(["train"], ["-e", "A=B"]) == [
        *expected,
        "--gpus=all",
        "-e",
        "A=B",
        "some:tag",
        "train",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("docker", f"build -t some:tag {ARGUMENTS} .", id="engine"),
        pytest.param("image", f"build some:tag {ARGUMENTS}", id="script"),
    ],
)
def test_build(name: str, expected: str, tmp_path: Path) -> None:
    script = tmp_path / name
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    script.chmod(0o755)
    Tool(str(script), "some:tag").build("gpu", "imagenet")
    assert (tmp_path / "said").read_text().strip() == expected


def test_a_program_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    script = tmp_path / "image"
    script.write_text("#!/bin/sh\necho no such image >&2\nexit 7\n")
    script.chmod(0o755)
    with pytest.raises(AssertionError, match="exit code 7: no such image"):
        Tool(str(script), "some:tag").ask(["env"])


def test_missing_libraries() -> None:
    listing = (
        "\tlinux-vdso.so.1 (0x00007ffd)\n"
        "\tlibcudnn.so.8 => /opt/lib/libcudnn.so.8 (0x00007f00)\n"
        "\tlibcuda.so.1 => not found\n"
        "\tstatically linked\n"
    )
    assert missing_libraries(listing) == {"libcuda.so.1"}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_driver_without_a_card_is_one(tmp_path: Path) -> None:
    tool = with_driver(Tool("docker", "some:tag"), tmp_path)
    assert tool.options[1].endswith("/libcuda.so.1:/usr/lib/x86_64-linux-gnu/libcuda.so.1:ro")
    dynamic = subprocess.run(
        ["readelf", "-d", tmp_path / "libcuda.so.1"], capture_output=True, text=True, check=True
    )
    assert "[libcuda.so.1]" in dynamic.stdout

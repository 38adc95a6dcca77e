"""container/build_and_push.sh with programs that stand in for docker and aws."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.container.programs import REPOSITORY, Programs

SCRIPT = "container/build_and_push.sh"
REGISTRY = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
NAME = "sagemaker-object-detection"
DOCKERS_FORMAT = "application/vnd.docker.distribution.manifest.v2+json\n"
KNOWN = {
    "aws sts get-caller-identity": (0, "111122223333\n"),
    "aws ecr get-login-password": (0, "a password"),
    "aws ecr describe-images": (0, DOCKERS_FORMAT),
    "docker buildx version": (0, "github.com/docker/buildx v0.20.0"),
}
MISSING = (254, "An error occurred (RepositoryNotFoundException) when calling the ...")
IN_IRELAND = {"AWS_REGION": "eu-west-1"}


def test_what_is_called(tmp_path: Path) -> None:
    programs = Programs(tmp_path / "bin", KNOWN)
    done = programs.run(SCRIPT, **IN_IRELAND)
    image = f"{REGISTRY}/{NAME}:cpu"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{image}\n", "")
    build = "docker build --platform linux/amd64 --build-arg DEVICE=cpu --provenance=false"
    of_it = f"--region eu-west-1 --repository-name {NAME}"
    assert programs.lines == [
        "aws sts get-caller-identity --region eu-west-1 --query Account --output text",
        f"aws ecr describe-repositories --region eu-west-1 --repository-names {NAME}",
        "aws ecr get-login-password --region eu-west-1",
        f"docker login --username AWS --password-stdin {REGISTRY}",
        "docker buildx version",
        f"{build} --output type=docker --tag {NAME}:cpu {REPOSITORY}",
        f"docker tag {NAME}:cpu {image}",
        f"docker push {image}",
        f"aws ecr describe-images {of_it} --image-ids imageTag=cpu "
        "--query imageDetails[0].imageManifestMediaType --output text",
    ]


def test_the_password_is_no_argument(tmp_path: Path) -> None:
    programs = Programs(tmp_path / "bin", KNOWN)
    programs.run(SCRIPT, **IN_IRELAND)
    [login] = [call for call in programs.calls if "login" in call["arguments"]]
    assert login["input"] == "a password"
    assert not any("a password" in line for line in programs.lines)


@pytest.mark.parametrize(
    ("arguments", "environ", "image", "build"),
    [
        pytest.param((), {"DEVICE": "gpu"}, f"{REGISTRY}/{NAME}:gpu", "DEVICE=gpu", id="for GPUs"),
        pytest.param(
            (), {"DEVICE": "kepler"}, f"{REGISTRY}/{NAME}:kepler", "DEVICE=kepler", id="for P2"
        ),
        pytest.param(
            ("a/b", "v1"), {}, f"{REGISTRY}/a/b:v1", "DEVICE=cpu", id="another name and tag"
        ),
        pytest.param(
            (),
            {"AWS_REGION": "cn-north-1"},
            f"111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/{NAME}:cpu",
            "DEVICE=cpu",
            id="China has a domain of its own",
        ),
        pytest.param(
            (),
            {"BASE_IMAGE": "debian:12"},
            f"{REGISTRY}/{NAME}:cpu",
            "BASE_IMAGE=debian:12",
            id="another base image",
        ),
        pytest.param(
            (),
            {"WEIGHTS": "imagenet"},
            f"{REGISTRY}/{NAME}:cpu",
            "WEIGHTS=imagenet",
            id="with weights to start from",
        ),
        pytest.param(
            (),
            {"WEIGHTS": "vgg-16", "WEIGHTS_URL": "https://mirror/{file}.zip"},
            f"{REGISTRY}/{NAME}:cpu",
            "WEIGHTS_URL=https://mirror/{file}.zip",
            id="of a mirror",
        ),
    ],
)
def test_what_can_be_chosen(
    tmp_path: Path, arguments: tuple[str, ...], environ: dict[str, str], image: str, build: str
) -> None:
    programs = Programs(tmp_path / "bin", KNOWN)
    done = programs.run(SCRIPT, *arguments, **IN_IRELAND | environ)
    assert done.stdout == f"{image}\n", done.stderr
    [line] = [line for line in programs.lines if line.startswith("docker build ")]
    assert f"--build-arg {build} " in line
    assert f"docker push {image}" in programs.lines


def test_the_region_of_the_configuration(tmp_path: Path) -> None:
    programs = Programs(tmp_path / "bin", KNOWN | {"aws configure get": (0, "us-west-2\n")})
    done = programs.run(SCRIPT)
    assert done.stdout == f"111122223333.dkr.ecr.us-west-2.amazonaws.com/{NAME}:cpu\n"


def test_a_missing_repository_is_made(tmp_path: Path) -> None:
    programs = Programs(tmp_path / "bin", KNOWN | {"aws ecr describe-repositories": MISSING})
    assert programs.run(SCRIPT, **IN_IRELAND).returncode == 0
    made = f"aws ecr create-repository --region eu-west-1 --repository-name {NAME}"
    assert programs.lines.count(made) == 1


def test_an_old_docker_builds_without_buildkit(tmp_path: Path) -> None:
    unknown = (1, "docker: 'buildx' is not a docker command.")
    programs = Programs(tmp_path / "bin", KNOWN | {"docker buildx version": unknown})
    assert programs.run(SCRIPT, **IN_IRELAND).returncode == 0
    [line] = [line for line in programs.lines if line.startswith("docker build ")]
    assert "--provenance" not in line
    assert "--output" not in line


def test_a_format_that_sagemaker_may_refuse_is_told(tmp_path: Path) -> None:
    oci = (0, "application/vnd.oci.image.index.v1+json\n")
    programs = Programs(tmp_path / "bin", KNOWN | {"aws ecr describe-images": oci})
    done = programs.run(SCRIPT, **IN_IRELAND)
    assert done.returncode == 0
    assert "application/vnd.oci.image.index.v1+json, which SageMaker may refuse" in done.stderr


@pytest.mark.parametrize(
    ("answers", "environ", "told"),
    [
        pytest.param({}, {"DEVICE": "tpu"}, "DEVICE is 'tpu'; it must be", id="device"),
        pytest.param({}, {"AWS_REGION": ""}, "no region is set; set AWS_REGION", id="region"),
        pytest.param(
            {"aws sts get-caller-identity": (255, "Unable to locate credentials")},
            {},
            "Unable to locate credentials",
            id="credentials",
        ),
        pytest.param(
            {"aws ecr describe-repositories": (254, "An error occurred (AccessDenied)")},
            {},
            "AccessDenied",
            id="repository",
        ),
        pytest.param({"aws ecr get-login-password": (1, "no")}, {}, "no", id="login"),
    ],
)
def test_what_is_wrong_is_told_before_the_build(
    tmp_path: Path, answers: dict[str, tuple[int, str]], environ: dict[str, str], told: str
) -> None:
    programs = Programs(tmp_path / "bin", KNOWN | answers)
    done = programs.run(SCRIPT, **IN_IRELAND | environ)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert told in done.stderr
    assert not any("build" in line or "create-repository" in line for line in programs.lines)


@pytest.mark.parametrize("step", ["docker build --platform", "docker push"])
def test_a_step_that_fails_is_the_last(tmp_path: Path, step: str) -> None:
    image = f" {REGISTRY}/{NAME}:cpu" if step == "docker push" else ""
    programs = Programs(tmp_path / "bin", KNOWN | {step + image: (3, "it failed")})
    done = programs.run(SCRIPT, **IN_IRELAND)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith("it failed")
    assert programs.lines[-1].startswith(step)

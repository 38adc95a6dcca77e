# Everything a developer runs. The figures and the reasons are in README.md.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock image image-test gpu-image-test gpu-test horovod sbom clean

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Many tests wait for processes, so that even those that use all cores go well two at a time.
TEST_PROCESSES ?= 2

# The program that builds and runs images: docker, podman, or any script with `build TAG` and
# `run [OPTIONS] TAG COMMAND...`; such a script beside the checkout stands in for docker.
IMAGE_TOOL ?= $(firstword $(wildcard ../shared/tools/image) docker)
# cpu, gpu, or kepler for the cards of P2.
DEVICE ?= cpu
# What is baked in to start training from: none, imagenet, or networks (docs/weights.md).
WEIGHTS ?= none
IMAGE_TAG ?= sagemaker-object-detection:$(DEVICE)
# What gives a container the cards; for podman it is --device=nvidia.com/gpu=all.
GPU_OPTIONS ?= --gpus=all

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything that is locked and the project itself

$(STAMP): container/requirements-dev.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	    echo "make: needs Python 3.11 and found no '$(PYTHON)'. Install python3.11 and python3.11-venv," \
	         "or name one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	    echo "make: needs Python 3.11 (MXNet 1.9.1 runs on nothing newer), but '$(PYTHON)' is" \
	         "$$("$(PYTHON)" -V 2>&1). Name another: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	    || "$(PYTHON)" -m venv --clear $(VENV)
	$(PIP) install --quiet --no-deps --require-hashes --only-binary :all: -r container/requirements-dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --no-index --editable .
	@$(BIN)/python -W ignore -c 'import cv2, mxnet, gluoncv' || { \
	    echo "make: the libraries are installed but do not load. MXNet needs libgomp.so.1 and" \
	         "libquadmath.so.0: apt-get install libgomp1 libquadmath0" >&2; exit 1; }
	@touch $@

demo: setup ## Make a data set, train, serve, detect on new images
	$(BIN)/object-detection demo

test: setup ## Run the whole test suite
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

lint: setup ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

# Versions already in the files are kept where they still fit; UPGRADE=--upgrade takes the newest.
LOCK := $(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' $(UPGRADE)
lock: setup ## Lock the requirements of pyproject.toml with hashes (UPGRADE=--upgrade for newer ones)
	$(LOCK) --extra cpu --extra build --extra horovod pyproject.toml -o container/requirements-cpu.txt
	$(LOCK) --extra gpu --extra build --extra horovod -c container/requirements-cpu.txt pyproject.toml \
	    -o container/requirements-gpu.txt
	$(LOCK) --extra kepler --extra build -c container/requirements-cpu.txt pyproject.toml \
	    -o container/requirements-kepler.txt
	$(LOCK) --extra cpu --extra build --extra horovod --extra dev -c container/requirements-cpu.txt pyproject.toml \
	    -o container/requirements-dev.txt
	$(LOCK) container/requirements-sbom.in -o container/requirements-sbom.txt

image: ## Build the container image (DEVICE=gpu, WEIGHTS=imagenet, IMAGE_TOOL=docker)
	$(PYTHON) container/image.py --tool "$(IMAGE_TOOL)" --device "$(DEVICE)" --weights "$(WEIGHTS)" \
	    --tag "$(IMAGE_TAG)" build

image-test: setup ## Build the image, train and serve in it as the platform does
	$(BIN)/python container/image.py --tool "$(IMAGE_TOOL)" --device "$(DEVICE)" --tag "$(IMAGE_TAG)" build test

gpu-image-test: ## The same with the image for cards, on a machine without one (needs gcc)
	$(MAKE) image-test DEVICE=gpu

gpu-test: setup ## On a machine with a card: build the GPU image, train in it, serve with it
	$(BIN)/python container/gpu_test.py --tool "$(IMAGE_TOOL)" --options="$(GPU_OPTIONS)" \
	    --device "$(if $(filter kepler,$(DEVICE)),kepler,gpu)"

SBOM := build/sbom
sbom: ## List what both images hold, with licences and known weaknesses, in build/sbom and docs/licences.md
	"$(PYTHON)" -m venv $(SBOM)/.venv
	$(SBOM)/.venv/bin/pip --disable-pip-version-check install --quiet --no-deps --require-hashes \
	    --only-binary :all: -r container/requirements-sbom.txt
	$(SBOM)/.venv/bin/python container/sbom.py --tool "$(IMAGE_TOOL)" --to $(SBOM) \
	    --licences docs/licences.md cpu gpu

horovod: setup ## Build Horovod into .venv (needs g++ and cmake < 4; about 2 minutes)
	container/build-horovod.sh $(BIN)/python

clean: ## Remove .venv and everything that was made
	rm -rf $(VENV) build demo .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info

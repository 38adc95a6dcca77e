#!/usr/bin/env bash
# Builds Horovod with MXNet and Gloo into the environment of the Python that is given:
#   container/build-horovod.sh .venv/bin/python [PIP]
# Needs g++ and cmake below 4, and mxnet, setuptools and wheel in that environment (its setup.py
# imports mxnet, so there is no build isolation), and pip, unless another environment's is given.
# HOROVOD_GPU_OPERATIONS=NCCL and the like are passed on. About 2 minutes on two cores.
set -euo pipefail
python=$1
here=$(cd "$(dirname "$0")" && pwd)
command -v cmake >/dev/null || { echo "horovod needs cmake: apt-get install cmake" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $# -gt 1 ]; then pip=("$2" --python "$python"); else pip=("$python" -m pip); fi
pip+=(--disable-pip-version-check)
"${pip[@]}" download --quiet --no-deps --no-build-isolation --no-binary :all: --require-hashes \
    --dest "$work" -r "$here/requirements-horovod.txt"
tar -C "$work" -xzf "$work"/horovod-*.tar.gz
source=$(echo "$work"/horovod-*/)

# The connections that carry gradients ignore HOROVOD_GLOO_IFACE: each process set reads the name of
# the interface from itself, where nobody has put it, and Gloo binds to whatever the host's name
# resolves to, or crashes where it does not resolve.
context=$source/horovod/common/gloo/gloo_context.cc
"$python" - "$context" "$source/horovod/__init__.py" <<'PATCH'
import sys
from pathlib import Path

context, package = map(Path, sys.argv[1:])
text = context.read_text()
start = text.index("void GlooContext::InitializeForProcessSet")
before, after = text[:start], text[start:]
wrong = "device_attr.iface = gloo_iface_;"
assert after.count(wrong) == 1, "horovod is not the version that this patch is for"
context.write_text(before + after.replace(wrong, "device_attr.iface = global_context.gloo_iface_;"))
package.write_text(package.read_text().replace("'0.28.1'", "'0.28.1+iface'"))
PATCH

HOROVOD_WITH_MXNET=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 \
HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 \
    "${pip[@]}" install --quiet --no-deps --no-build-isolation "$source"
"$python" -W ignore -c 'import horovod.mxnet'

#!/usr/bin/env bash
# Builds Horovod for the GPU image, with NCCL beside Gloo:
#   container/build-horovod-gpu.sh VENV/bin/python [PIP]
# Needs Debian's nvidia-cuda-toolkit, and NVIDIA's wheels in that environment. Changes the linker's
# configuration: run it as root in a stage that is thrown away. Takes about 4 minutes on two cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
site=$("$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

ls -d "$site"/nvidia/*/lib >/etc/ld.so.conf.d/cuda.conf
ldconfig
# The wheel has no name for the linker; trim.sh removes it again.
ln -sf libnccl.so.2 "$site/nvidia/nccl/lib/libnccl.so"

# Horovod's setup.py imports mxnet, which takes a driver: the toolkit's stub of one.
driver=$(mktemp -d)
trap 'rm -rf "$driver"' EXIT
ln -s /usr/lib/x86_64-linux-gnu/stubs/libcuda.so "$driver/libcuda.so.1"
export LD_LIBRARY_PATH=$driver

# The newest compiler that CUDA 11.8 takes; the toolkit's package brings it.
export CC=gcc-11 CXX=g++-11
export HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_CUDA_HOME=/usr
export HOROVOD_NCCL_HOME=$site/nvidia/nccl HOROVOD_NCCL_LINK=SHARED
# The cards that the wheel of MXNet has machine code for; the last also as PTX.
export HOROVOD_BUILD_CUDA_CC_LIST=50,60,70,80,86
"$here/build-horovod.sh" "$@"

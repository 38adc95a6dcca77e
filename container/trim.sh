#!/usr/bin/env bash
# Removes from an environment what the image never loads:
#   container/trim.sh VENV/lib/python3.11/site-packages
# What it saves is in docs/image.md. Needs strip, of binutils.
set -euo pipefail
cd "$1"

# What is for compiling against the libraries: headers, sources, archives.
rm -rf mxnet/include openvino/include openvino/cmake
find . -type f \( -name '*.a' -o -name '*.cc' -o -name '*.h' -o -name '*.hpp' -o -name '*.pxd' \) -delete
[ ! -d horovod ] || strip --strip-unneeded horovod/mxnet/*.so

# Test suites, one of them with 55 MB of networks.
rm -rf onnx/backend/test onnx/test tests
find numpy scipy -type d -name tests -prune -exec rm -rf {} +

# OpenVINO for Intel's graphics and neural processors. Endpoints ask it for CPU.
rm -f openvino/libs/libopenvino_intel_[gn]pu_plugin.so openvino/libs/cache.json

# Of CUDA, what neither libmxnet.so nor Horovod links, nor a library that they link. cuDNN loads its
# parts when one of their functions is called, and the adv parts are RNN, CTC loss and attention.
rm -rf nvidia/*/include nvidia/nccl/lib/libnccl.so nvidia/cublas/lib/libnvblas.so.* \
    nvidia/cuda_runtime/lib/libOpenCL.so.* nvidia/cudnn/lib/libcudnn_adv_*.so.* \
    nvidia/cufft/lib/libcufftw.so.* nvidia/cusolver/lib/libcusolverMg.so.*

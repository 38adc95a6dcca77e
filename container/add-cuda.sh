#!/usr/bin/env bash
# Puts CUDA's libraries out of a folder beside those of Python's packages, where MXNet's wheel needs
# others than PyPI has:
#   container/add-cuda.sh FOLDER VENV/lib/python3.11/site-packages
# Fails, and names them, when libmxnet.so would still miss some.
set -euo pipefail
to=$2/nvidia/cuda/lib
mkdir -p "$to"
find "$1" -type f -name 'lib*.so.*' -exec cp {} "$to" \;
ldconfig -n "$to" # the names that they are linked by

# The driver brings libcuda.so.1. cuDNN loads its parts when it is first used, so nothing links them.
linked=$(find "$to" -type f -exec env LD_LIBRARY_PATH="$to" ldd {} +; LD_LIBRARY_PATH=$to ldd "$2/mxnet/libmxnet.so")
missing=$(awk '/not found/ && $1 != "libcuda.so.1" {print $1}' <<<"$linked")
for part in ops_infer ops_train cnn_infer cnn_train; do
    [ -e "$to/libcudnn_$part.so.8" ] || missing+=" libcudnn_$part.so.8"
done
missing=$(xargs -n 1 <<<"$missing" | sort -u | xargs)
if [ -n "$missing" ]; then
    echo "add-cuda: $1 lacks $missing; its README.md says where they are to be had" >&2
    exit 1
fi

#!/usr/bin/env bash
# Trains in the container on a folder that is laid out as /opt/ml:
#   container/local/train.sh JOB [OPTION OF docker run]...
#   container/local/train.sh job --gpus all
#
#   JOB                  has input/config/hyperparameters.json and input/data; model, output and
#                        checkpoints are made beside them
#   IMAGE                default sagemaker-object-detection:cpu
#   CONTAINER_USER       default: you, so that what is written is yours; 0:0 under a rootless engine,
#                        where that is you
#   DOCKER               default docker; podman knows the same commands
#
# SIGTERM reaches the training, which then saves its best model; Ctrl-C ends it at once. The exit code
# is that of `train`.
set -euo pipefail

[ $# -gt 0 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ -f "$1/input/config/hyperparameters.json" ] || {
    echo "train.sh: $1/input/config/hyperparameters.json is missing; name a folder that is laid out" \
         "as /opt/ml" >&2
    exit 2
}
job=$(cd "$1" && pwd)
shift
mkdir -p "$job/model" "$job/output/data" "$job/checkpoints"

# As on SageMaker: 64 MB of shared memory, and 120 s from SIGTERM to SIGKILL. The input is read-only
# there in FastFile mode; nothing is ever written to it.
exec "${DOCKER:-docker}" run --rm \
    --shm-size 64m \
    --stop-timeout 120 \
    --user "${CONTAINER_USER:-$(id -u):$(id -g)}" \
    --env HOME=/tmp \
    --env TRAINING_JOB_NAME="$(basename "$job")" \
    --volume "$job/input:/opt/ml/input:ro" \
    --volume "$job/model:/opt/ml/model" \
    --volume "$job/output:/opt/ml/output" \
    --volume "$job/checkpoints:/opt/ml/checkpoints" \
    "$@" \
    "${IMAGE:-sagemaker-object-detection:cpu}" train

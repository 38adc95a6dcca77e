#!/usr/bin/env bash
# Serves the model of a folder that is laid out as /opt/ml, on http://localhost:8080:
#   container/local/serve.sh JOB [OPTION OF docker run]...
#   container/local/serve.sh job --env OBJECT_DETECTION_RESPONSE=builtin
#
#   JOB                  has model/, as train.sh leaves it
#   PORT                 default 8080; on this machine alone
#   IMAGE, CONTAINER_USER, DOCKER as for train.sh
#
# SIGTERM and Ctrl-C end the server.
set -euo pipefail

[ $# -gt 0 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ -d "$1/model" ] || {
    echo "serve.sh: $1/model is missing; name a folder in which train.sh has trained" >&2
    exit 2
}
job=$(cd "$1" && pwd)
shift

# As on SageMaker: the model is read-only, 64 MB of shared memory, and 30 s from SIGTERM to SIGKILL.
exec "${DOCKER:-docker}" run --rm \
    --shm-size 64m \
    --stop-timeout 30 \
    --user "${CONTAINER_USER:-$(id -u):$(id -g)}" \
    --env HOME=/tmp \
    --publish "127.0.0.1:${PORT:-8080}:8080" \
    --volume "$job/model:/opt/ml/model:ro" \
    "$@" \
    "${IMAGE:-sagemaker-object-detection:cpu}" serve

#!/usr/bin/env bash
# Builds the image and pushes it to Amazon ECR; prints its URI, and nothing else, on standard output:
#   IMAGE=$(DEVICE=gpu container/build_and_push.sh [REPOSITORY] [TAG])
#
#   REPOSITORY   default sagemaker-object-detection; made if it is missing
#   TAG          default: the device
#   DEVICE       cpu (the default), gpu, or kepler for P2
#   AWS_REGION, AWS_PROFILE and so on as the AWS command line has them
#   BASE_IMAGE   another base image, see Dockerfile
#   WEIGHTS, WEIGHTS_URL   weights to start training from, see docs/weights.md; default: none
set -euo pipefail

repository=${1:-sagemaker-object-detection}
device=${DEVICE:-cpu}
tag=${2:-$device}
root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "build_and_push: $1" >&2
    exit 1
}

# All that can be wrong is asked before the build, which takes minutes.
case $device in cpu | gpu | kepler) ;; *) fail "DEVICE is '$device'; it must be cpu, gpu or kepler" ;; esac
for program in aws docker; do
    command -v "$program" >/dev/null || fail "needs the program '$program'; install it, or put it on PATH"
done
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
[ -n "$region" ] || fail "no region is set; set AWS_REGION, or run 'aws configure'"
account=$(aws sts get-caller-identity --region "$region" --query Account --output text) \
    || fail "AWS does not know who you are; run 'aws configure', or 'aws sso login'"
domain=amazonaws.com
case $region in cn-*) domain=amazonaws.com.cn ;; esac
registry=$account.dkr.ecr.$region.$domain
image=$registry/$repository:$tag

if ! answer=$(aws ecr describe-repositories --region "$region" --repository-names "$repository" 2>&1); then
    case $answer in
        *RepositoryNotFoundException*) ;;
        *) fail "ECR does not tell whether the repository '$repository' is there: $answer" ;;
    esac
    aws ecr create-repository --region "$region" --repository-name "$repository" >&2
fi
aws ecr get-login-password --region "$region" \
    | docker login --username AWS --password-stdin "$registry" >&2

# SageMaker takes one image, described in Docker's own format. BuildKit would push OCI's format, with
# a list of the image and where it comes from; a docker without it knows no other than Docker's.
arguments=(--platform linux/amd64 --build-arg "DEVICE=$device")
for name in BASE_IMAGE WEIGHTS WEIGHTS_URL; do
    [ -z "${!name:-}" ] || arguments+=(--build-arg "$name=${!name}")
done
if docker buildx version >/dev/null 2>&1; then
    arguments+=(--provenance=false --output type=docker)
fi
docker build "${arguments[@]}" --tag "$repository:$tag" "$root" >&2
docker tag "$repository:$tag" "$image" >&2
docker push "$image" >&2

format=$(aws ecr describe-images --region "$region" --repository-name "$repository" \
    --image-ids "imageTag=$tag" --query 'imageDetails[0].imageManifestMediaType' --output text) \
    || format='nobody may know what'
[ "$format" = application/vnd.docker.distribution.manifest.v2+json ] \
    || echo "build_and_push: warning: the image is described as $format, which SageMaker may refuse" >&2
echo "$image"

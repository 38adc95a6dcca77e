# The image for processors, with DEVICE=gpu the one for NVIDIA's cards and with DEVICE=kepler the one
# for those of P2: docs/image.md.
ARG BASE_IMAGE=debian:bookworm-slim

# What runs the program: Python 3.11, the two libraries that libmxnet.so links, nginx for the endpoint.
FROM ${BASE_IMAGE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libquadmath0 nginx-light python3.11 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*.log /var/log/apt

# Fills /opt/venv. Compilers stay behind, and pip in an environment of its own.
FROM base AS builder
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make python3.11-venv
ARG DEVICE=cpu
# CUDA's compiler is in Debian's non-free, and a part of it in contrib.
RUN if [ "$DEVICE" = gpu ]; then \
        sed -i 's/^Components: main$/Components: main contrib non-free/' /etc/apt/sources.list.d/debian.sources \
        && apt-get update && apt-get install -y --no-install-recommends nvidia-cuda-toolkit; \
    fi
RUN python3.11 -m venv /opt/pip && python3.11 -m venv --without-pip /opt/venv
WORKDIR /build
COPY container/requirements-${DEVICE}.txt requirements.txt
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-deps \
        --require-hashes --only-binary :all: -r requirements.txt
# With NCCL for cards; Kepler's have kvstore alone, since Horovod would need CUDA 10.2's compiler.
COPY container/build-horovod*.sh container/requirements-horovod.txt ./
RUN case "$DEVICE" in \
        cpu) ./build-horovod.sh /opt/venv/bin/python /opt/pip/bin/pip ;; \
        gpu) ./build-horovod-gpu.sh /opt/venv/bin/python /opt/pip/bin/pip ;; \
    esac
COPY container/add-cuda.sh container/trim.sh ./
COPY container/cuda-10.2 cuda-10.2
RUN if [ "$DEVICE" = kepler ]; then ./add-cuda.sh cuda-10.2 /opt/venv/lib/python3.11/site-packages; fi
RUN ./trim.sh /opt/venv/lib/python3.11/site-packages \
    && find /opt/venv/lib/python3.11/site-packages -path '*/nvidia/*/lib' -type d > cuda.conf
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-deps \
        --no-build-isolation --no-index .

# Weights to start training from, fetched here and never later: none, imagenet, or networks by name.
FROM base AS weights
ARG WEIGHTS=none
ARG WEIGHTS_URL=
COPY src/sagemaker_object_detection/model/zoo.py /build/fetch_weights.py
RUN if [ "${WEIGHTS}" != none ]; then \
        apt-get update && apt-get install -y --no-install-recommends ca-certificates; \
    fi \
    && python3.11 /build/fetch_weights.py --url "${WEIGHTS_URL}" "${WEIGHTS}" /opt/object-detection/weights

FROM base
# SAGEMAKER_BIND_TO_PORT is honoured, so the endpoint can stand in an inference pipeline; so is
# SAGEMAKER_MULTI_MODEL, so it can serve many models.
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true \
      com.amazonaws.sagemaker.capabilities.multi-models=true
ENV PATH=/opt/program:/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# For the GPU image, and without effect in the other. The container runtime is told to bring the
# driver: libcuda.so.1 and nvidia-smi. MXNet would compile fused operators to PTX of CUDA 11.8, which
# drivers before 520 refuse, and endpoints of the platform have 470 by default.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MXNET_USE_FUSION=0
COPY --from=builder /opt/venv /opt/venv
COPY --from=weights /opt/object-detection/weights /opt/object-detection/weights
COPY --from=builder /build/cuda.conf /etc/ld.so.conf.d/
RUN ldconfig
COPY LICENSE NOTICE train serve /opt/program/
WORKDIR /opt/program
EXPOSE 8080
# No entry point and no shell: the platform calls `train` or `serve`, and that is the process which
# gets its signals.
CMD ["serve"]

ARG BASE_IMAGE=debian:bookworm-slim

# What runs the program: Python 3.11 and the two libraries that libmxnet.so links.
FROM ${BASE_IMAGE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libquadmath0 python3.11 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*.log /var/log/apt

# Fills /opt/venv. pip stays behind, in an environment of its own.
FROM base AS builder
RUN apt-get update && apt-get install -y --no-install-recommends python3.11-venv
RUN python3.11 -m venv /opt/pip && python3.11 -m venv --without-pip /opt/venv
WORKDIR /build
COPY container/requirements-cpu.txt .
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-deps \
        --require-hashes --only-binary :all: -r requirements-cpu.txt \
    # A tenth of the image: C++ headers of MXNet, and test suites of numpy and scipy.
    && rm -rf /opt/venv/lib/python3.11/site-packages/mxnet/include \
    && find /opt/venv/lib/python3.11/site-packages/numpy /opt/venv/lib/python3.11/site-packages/scipy \
        -type d -name tests -prune -exec rm -rf {} +
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-deps \
        --no-build-isolation --no-index .

# Weights to start training from, fetched here and never later: none, imagenet, or networks by name.
FROM base AS weights
ARG WEIGHTS=none
ARG WEIGHTS_URL=
COPY container/fetch_weights.py /build/
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
COPY --from=builder /opt/venv /opt/venv
COPY --from=weights /opt/object-detection/weights /opt/object-detection/weights
COPY train serve /opt/program/
WORKDIR /opt/program
EXPOSE 8080
# No entry point and no shell: the platform calls `train` or `serve`, and that is the process which
# gets its signals.
CMD ["serve"]

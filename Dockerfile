# The gateway as an image: `docker build .` is what runs in production, `docker build --target demo .` the demo.
# Packages are pinned by hash in deploy/image; pin the base by its digest where you build: --build-arg PYTHON=3.11-slim-bookworm@sha256:…
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY deploy/image/build.txt deploy/image/runtime.txt deploy/image/
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --require-hashes -r deploy/image/build.txt
RUN python -m venv --without-pip /opt/gateway \
    && /opt/build/bin/python -m pip --python /opt/gateway install --require-hashes -r deploy/image/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY streams streams
COPY sandbox sandbox
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/python -m pip --python /opt/gateway install --no-deps dist/*.whl

FROM build AS build-demo
COPY deploy/image/demo.txt deploy/image/
RUN /opt/build/bin/python -m pip --python /opt/gateway install --require-hashes -r deploy/image/demo.txt

FROM python:${PYTHON} AS base
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# No name is needed for it, and nothing has to be written: it runs with a read-only root and an empty /tmp.
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["ringcloud-gateway"]

FROM base AS demo
COPY --from=build-demo /opt/gateway /opt/gateway
CMD ["dev"]

FROM base AS runtime
COPY --from=build /opt/gateway /opt/gateway
CMD ["--help"]

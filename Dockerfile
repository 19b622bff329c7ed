# One image for both commands: `metasync serve` (the default: API and
# workers) and `metasync worker` (workers only). docs/deployment.md

# The tag says what it is; a digest behind it makes it exactly that. Look it up
# with `make image-digests`, and give IMAGE:TAG@sha256:... here or as
# --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.13.9-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_REQUIRE_VIRTUALENV=1
WORKDIR /src
# The packages first: they change less often than the code.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: \
        -r requirements-build.lock \
    && python -m venv /opt/metasync \
    && /opt/metasync/bin/pip install --require-hashes --only-binary :all: \
        -r requirements.lock
COPY pyproject.toml README.md LICENSE config.py main_app.py ./
COPY api/ api/
COPY cli/ cli/
COPY examples/ examples/
COPY llm_optimizers/ llm_optimizers/
COPY llm_sdks/ llm_sdks/
COPY llm_workers/ llm_workers/
COPY provider_simulator/ provider_simulator/
COPY utilities/ utilities/
# Nothing is downloaded here: the build tools are those of the lock.
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation \
        --wheel-dir /wheels . \
    && /opt/metasync/bin/pip install --no-index --no-deps /wheels/*.whl \
    && /opt/metasync/bin/python -m compileall -q /opt/metasync/lib \
    && /opt/metasync/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/metasync/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=8001 \
    LOG_FORMAT=json
RUN groupadd --gid 10001 metasync \
    && useradd --uid 10001 --gid 10001 --no-create-home \
        --home-dir /data --shell /usr/sbin/nologin metasync \
    && install --directory --owner=metasync --group=metasync --mode=0700 /data
# Owned by root: the service cannot change its own code.
COPY --from=build /opt/metasync /opt/metasync
USER 10001:10001
# The embedded database, if DB_CONNECTION_STRING is not set, and the answers
# that wait while the database is away. Nothing is written elsewhere: the root
# file system may be read-only.
VOLUME /data
WORKDIR /app
EXPOSE 8001
STOPSIGNAL SIGTERM
# Liveness, not readiness: a restart does not bring a lost database back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-I", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=4)"]
CMD ["metasync", "serve"]

# One image for both commands: `metasync serve` (the default: API and
# workers) and `metasync worker` (workers only). docs/deployment.md

ARG PYTHON_IMAGE=python:3.13.9-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/metasync
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE config.py main_app.py ./
COPY api/ api/
COPY cli/ cli/
COPY llm_optimizers/ llm_optimizers/
COPY llm_sdks/ llm_sdks/
COPY llm_workers/ llm_workers/
COPY provider_simulator/ provider_simulator/
COPY utilities/ utilities/
RUN /opt/metasync/bin/pip install -c constraints.txt .

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
COPY --from=build /opt/metasync /opt/metasync
USER 10001:10001
# The embedded database, if DB_CONNECTION_STRING is not set, and the answers
# that wait while the database is away.
VOLUME /data
WORKDIR /app
EXPOSE 8001
STOPSIGNAL SIGTERM
# Liveness, not readiness: a restart does not bring a lost database back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-I", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=4)"]
CMD ["metasync", "serve"]

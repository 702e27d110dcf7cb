# syntax=docker/dockerfile:1
# Two stages: the first builds an environment from the lock file, the second runs it as nobody in particular.
# The tests run these RUN lines in an empty folder (tests/repository/test_container.py): keep them plain.

FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/run.lock requirements/run.lock
RUN python -m venv /opt/gateway
RUN /opt/gateway/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY gateway gateway
RUN /opt/gateway/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:3.13-slim
LABEL org.opencontainers.image.title="L402 Gateway" org.opencontainers.image.licenses="MIT"
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin gateway && install --directory --owner=10001 --mode=0700 /data
COPY --from=build /opt/gateway /opt/gateway
# Nothing is written outside /data, so that `docker run --read-only` works.
ENV PATH=/opt/gateway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8402
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s CMD ["gateway", "healthcheck", "/etc/gateway/gateway.yaml"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["serve", "/etc/gateway/gateway.yaml"]

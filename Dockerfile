# One image for every service: `docker run IMAGE` serves everything on its own PostgreSQL, `docker run IMAGE command` one.
# Nothing but /tmp and /var/lib/myevents is written, so the root file system may be read-only.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/myevents
WORKDIR /source
# What changes seldom comes first: the layer of the dependencies serves until the lock changes.
COPY requirements.lock ./
RUN /opt/myevents/bin/pip install --quiet --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY schema schema
COPY migrations migrations
COPY myevents myevents
COPY command command
COPY projector projector
COPY query query
RUN /opt/myevents/bin/pip install --quiet --no-deps --no-build-isolation . \
 && /opt/myevents/bin/pip uninstall --quiet --yes hatchling editables pip

FROM python:${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="MyEvents" \
      org.opencontainers.image.description="Event booking that never oversells and never loses a booking" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# By number, so that Kubernetes can see that it is not root; with a name, which PostgreSQL's programs ask for.
RUN groupadd --gid 10001 myevents \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/myevents --create-home --shell /usr/sbin/nologin myevents
COPY data/conferences.jsonl /usr/share/myevents/conferences.jsonl
COPY --from=build /opt/myevents /opt/myevents
ENV PATH=/opt/myevents/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MYEVENTS_HOST=0.0.0.0 \
    HEALTH_URL=http://127.0.0.1:8080/healthz
USER 10001:10001
WORKDIR /var/lib/myevents
VOLUME /var/lib/myevents
EXPOSE 8080 8181 8282 9191 9292 9100 9101 9102 9103 9104
# Where a service listens elsewhere, HEALTH_URL says so.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["myevents"]
CMD ["serve"]

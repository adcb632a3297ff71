# Branchline's one image. What a container does is its command: serve customer, migrate, …
#   PYTHON_IMAGE   any image with Python 3.11 to 3.14: a bank has a registry of its own
#   PIP_INDEX_URL  a bank's own package index
#   REQUIREMENTS   which lock of requirements/ it holds: base runs the services
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL
ARG REQUIREMENTS=base
WORKDIR /build
RUN python3 -m venv /opt/branchline
COPY requirements/${REQUIREMENTS}.txt requirements.txt
RUN /opt/branchline/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY pyproject.toml README.md ./
COPY feeds feeds
COPY services services
COPY shared shared
RUN /opt/branchline/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .
COPY deploy/container/ready.py /opt/branchline/ready.py
# What is in the image, as CycloneDX, by a tool that is not: /opt/branchline/sbom.cdx.json
RUN python3 -m venv /opt/sbom
COPY requirements/sbom.txt sbom.txt
RUN /opt/sbom/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r sbom.txt \
 && /opt/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
    --output-file /opt/branchline/sbom.cdx.json /opt/branchline/bin/python

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/branchline /opt/branchline
# The demo's issuer and mail sink keep their state here; the services keep none.
RUN install -d -o 10001 -g 10001 /var/lib/branchline
ENV PATH=/opt/branchline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    BRANCHLINE_HOME=/var/lib/branchline
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "/opt/branchline/ready.py"]
ENTRYPOINT ["branchline"]

# The engine with one model: `make image` builds it (TARGET=cpu or gpu, BASE, BUNDLE, TAG).
# For BuildKit and the classic builder alike, hence no mounts and no here-documents.
# BASE: Python 3.11 or newer on Debian, with or without pip.
ARG BASE=python:3.12-slim

# Libraries, as they are to lie in the image, below /install. What pip is told (an index, a proxy,
# certificate authorities in image/ca.crt) stays in this stage.
FROM ${BASE} AS installer
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_DEFAULT_TIMEOUT
RUN python3 -m venv /venv \
    || { apt-get update && apt-get install -y --no-install-recommends python3-venv \
         && python3 -m venv --clear /venv; }
COPY requirements/image.txt requirements/gpu.txt image/ca.cr[t] /requirements/
RUN python3 -c "import sysconfig; print('/install' + sysconfig.get_path('purelib'))" >/site

FROM installer AS cpu-libraries
COPY image/prune.py /image/
RUN if [ -s /requirements/ca.crt ]; then export PIP_CERT=/requirements/ca.crt; fi; \
    /venv/bin/python -m pip install --disable-pip-version-check --no-cache-dir --quiet \
      --no-deps --require-hashes --only-binary=:all: --no-compile \
      --target "$(cat /site)" -r /requirements/image.txt \
    && python3 /image/prune.py "$(cat /site)" \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      -s /install "$(cat /site)"

# The native engine's kernels. The compiler weighs 400 MB and stays in this stage.
FROM installer AS kernels
COPY requirements/compile.txt /requirements/
RUN if [ -s /requirements/ca.crt ]; then export PIP_CERT=/requirements/ca.crt; fi; \
    /venv/bin/python -m pip install --disable-pip-version-check --no-cache-dir --quiet \
      --require-hashes --only-binary=:all: --no-compile -r /requirements/compile.txt
COPY src/embed_job/engine/native/compile.py /native/
COPY src/embed_job/engine/native/kernels /native/kernels
RUN /venv/bin/python -B /native/compile.py

# Our own code, compiled too. A stage of its own: it changes often and weighs little.
FROM installer AS code
COPY container /code/container
COPY src/embed_job /code/embed_job
COPY --from=kernels /native/libraries /code/embed_job/engine/native/libraries
RUN mkdir -p "$(cat /site)" && cp -r /code/. "$(cat /site)/" \
    && python3 -m compileall -q --invalidation-mode unchecked-hash -s /install "$(cat /site)" \
    && chmod -R a+rX /install

FROM cpu-libraries AS cpu-model
ARG BUNDLE=models/default
COPY ${BUNDLE} /bundle
COPY image/bundle.py /image/
COPY --from=code /install /install
RUN PYTHONPATH="$(cat /site)" python3 -B /image/bundle.py slim /bundle /models/default

# What every target has in common. /opt/ml belongs to SageMaker, so the model lies in /models.
FROM ${BASE} AS runtime
ENV HF_HUB_OFFLINE=1 \
    TRANSFORMERS_OFFLINE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    TOKENIZERS_PARALLELISM=false \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Nothing is installed at run time; the layers below hold it, but nobody gets to run it.
RUN rm -rf /usr/local/lib/python3.*/site-packages/pip* /usr/local/lib/python3.*/ensurepip \
      /usr/lib/python3.*/ensurepip /usr/share/python-wheels /usr/local/bin/pip*
WORKDIR /
# A job names its own script, which is this one, of the version that submits it.
ENTRYPOINT ["python3", "-m", "container.embed_shard"]

FROM runtime AS cpu-files
COPY --from=cpu-libraries /install/ /
COPY --from=cpu-model /models/ /models/
COPY --from=code /install/ /

# The files of the image prove themselves; the check leaves nothing but its record.
FROM cpu-files AS cpu-check
ARG FINGERPRINT
ARG SOURCE
ARG LICENCE
ARG VERSION
ARG PROTOCOL
COPY image/bundle.py /image/
RUN python3 -B /image/bundle.py check /models/default /checked/models/checked.json

FROM cpu-files AS cpu
ARG FINGERPRINT
ARG SOURCE
ARG LICENCE
ARG VERSION
ARG PROTOCOL
LABEL embed-job.fingerprint="${FINGERPRINT}" \
      embed-job.source="${SOURCE}" \
      embed-job.licence="${LICENCE}" \
      embed-job.version="${VERSION}" \
      embed-job.protocol="${PROTOCOL}" \
      embed-job.target=cpu
COPY --from=cpu-check /checked/ /

# The same code on a GPU machine, with torch and the CUDA libraries of its wheels (the driver is
# the host's). The bundle keeps its safetensors, which torch loads; where there is no GPU,
# `engine: auto` runs the native engine here as well.
FROM installer AS gpu-libraries
RUN if [ -s /requirements/ca.crt ]; then export PIP_CERT=/requirements/ca.crt; fi; \
    /venv/bin/python -m pip install --disable-pip-version-check --no-cache-dir --quiet \
      --require-hashes --only-binary=:all: --no-compile \
      --target "$(cat /site)" -r /requirements/gpu.txt

FROM installer AS gpu-model
ARG BUNDLE=models/default
COPY ${BUNDLE} /models/default
RUN chmod -R a+rX /models

# Triton, which torch.compile goes through, compiles its launchers where they run: without a C
# compiler the torch engine would go on without torch.compile.
FROM runtime AS gpu-files
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV TRITON_CACHE_DIR=/tmp/triton \
    TORCHINDUCTOR_CACHE_DIR=/tmp/inductor
COPY --from=gpu-libraries /install/ /
COPY --from=gpu-model /models/ /models/
COPY --from=code /install/ /

FROM gpu-files AS gpu-check
ARG FINGERPRINT
ARG SOURCE
ARG LICENCE
ARG VERSION
ARG PROTOCOL
COPY image/bundle.py /image/
RUN python3 -B /image/bundle.py check /models/default /checked/models/checked.json

FROM gpu-files AS gpu
ARG FINGERPRINT
ARG SOURCE
ARG LICENCE
ARG VERSION
ARG PROTOCOL
LABEL embed-job.fingerprint="${FINGERPRINT}" \
      embed-job.source="${SOURCE}" \
      embed-job.licence="${LICENCE}" \
      embed-job.version="${VERSION}" \
      embed-job.protocol="${PROTOCOL}" \
      embed-job.target=gpu
COPY --from=gpu-check /checked/ /

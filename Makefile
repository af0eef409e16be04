# `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAMPLE ?= 2000
SPEC ?=
SIZE ?= full
TARGET ?= cpu
TAG ?= embed-job:$(TARGET)
BASE ?= python:3.12-slim
BUNDLE ?= models/default
REPOSITORY ?= embed-job
ON ?= sagemaker
DOCUMENTS ?=

.DEFAULT_GOAL := help
.PHONY: help dry-run submit-job bundle image push test test-opensearch simulate-month opensearch-server lint bench \
  bench-gpu bench-peers lock schema clean

help: ## What there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

dry-run: $(VENV)/cpu.stamp models/default/config.json ## Embed a sample here; SPEC=my.yaml for your own, SAMPLE=2000 or 1%
	@$(BIN)/embed-job run $(SPEC) --sample $(SAMPLE)

submit-job: $(VENV)/$(if $(filter local,$(ON)),local,launcher).stamp $(if $(filter local,$(ON)),models/default/config.json) ## Submit SPEC to SageMaker; ON=local: no AWS, on this machine (DOCUMENTS=my-data/ for your own files)
	@$(if $(SPEC),,$(error Name a spec: make submit-job SPEC=jobs/example.yaml ON=local))true
ifeq ($(ON),local)
	@$(if $(findstring --runner process,$(ARGS)),true,$(image_for_local))
	@$(BIN)/python -m launcher.local.stand_in $(SPEC) $(if $(DOCUMENTS),--documents $(DOCUMENTS)) -- \
	  $(BIN)/embed-job submit $(SPEC) --on local --image $(TAG) $(ARGS)
else
	@$(BIN)/embed-job submit $(SPEC) $(ARGS)
endif

# Without Docker, hosts are processes; the launcher says so. ARGS is meant for the launcher.
IMAGE_LOG := out/local/image.log
image_for_local = ! docker version >/dev/null 2>&1 || { mkdir -p $(dir $(IMAGE_LOG)) && \
  echo "Building the image $(TAG), which takes minutes the first time; see $(IMAGE_LOG) ..." && \
  $(MAKE) --no-print-directory image ARGS= >$(IMAGE_LOG) 2>&1; } || { tail -n 20 $(IMAGE_LOG) >&2; \
  echo "Without an image: make submit-job SPEC=$(SPEC) ON=local ARGS='--runner process'" >&2; exit 2; }

test: $(VENV)/dev.stamp models/default/config.json ## Every test, with one closing summary
	@$(BIN)/pytest $(ARGS)

test-opensearch: $(VENV)/dev.stamp ## What OpenSearch is concerned with, against a real server
	@$(BIN)/pytest tests/opensearch $(ARGS)

simulate-month: $(VENV)/dev.stamp models/default/config.json ## Thirty nightly runs over a corpus that changes, with faults; `make test` holds a week
	@SIMULATED_DAYS=30 $(BIN)/pytest tests/simulation/test_days.py $(ARGS)

opensearch-server: .opensearch/server.stamp ## The jars of the real server that tests start
.opensearch/server.stamp: tests/opensearch/server/pom.xml
	@echo "Fetching the jars of an OpenSearch server (60 MB) ..."
	@mkdir -p $(@D)
	@mvn --quiet --batch-mode --strict-checksums --file $< -Dfolder=$(CURDIR)/$(@D) package
	@touch $@

lint: $(VENV)/dev.stamp ## Style, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(if $(filter ci,$(SIZE)),$(VENV)/dev.stamp,bench-peers) models/default/config.json ## The comparisons of README, whose tables it makes anew; SIZE=ci for a short run
	$(BIN)/python -m benchmarks.run --size $(SIZE) $(ARGS)

bench-gpu: $(if $(filter ci,$(SIZE)),$(VENV)/dev.stamp,bench-peers) ## The same on GPUs; where there is none, SIZE=ci does it on the CPU
	$(BIN)/python -m benchmarks.run --only gpu agreement --size $(SIZE) --cores $(shell nproc) $(ARGS)

bench-peers: $(VENV)/dev.stamp ## The environments of the peers, each version-pinned (out/bench/peers)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/python -m benchmarks.peers.environments

bundle: models/default/config.json ## The default model's bundle, in models/default

# A bundle of an older version lacks this file, and is made anew.
models/default/config.json: | $(VENV)/cpu.stamp
	@$(BIN)/embed-job bundle default --out models/default

image: $(if $(filter models/default,$(BUNDLE)),models/default/config.json) ## The image: TARGET=cpu or gpu, TAG, BASE, BUNDLE=models/mine
	@$(PYTHON) image/build.py --target $(TARGET) --tag $(TAG) --base $(BASE) --bundle $(BUNDLE) $(ARGS)

push: $(VENV)/cpu.stamp ## Bring the image to ECR and print its URI by digest: TAG, REPOSITORY, REGION
	@$(BIN)/python -m launcher.push --image $(TAG) --repository $(REPOSITORY) $(if $(REGION),--region $(REGION))

schema: $(VENV)/cpu.stamp ## What is generated from specs: jobs/schema.json, docs/spec.md, docs/iam
	@$(BIN)/embed-job init --schema jobs/schema.json --force
	@sed -i '/^```yaml$$/,$$d' docs/spec.md
	@{ echo '```yaml'; $(BIN)/embed-job init -; echo '```'; } >> docs/spec.md
	@$(BIN)/embed-job iam jobs/example.yaml --out docs/iam
	@$(BIN)/embed-job iam jobs/opensearch.yaml --out docs/iam/opensearch
	@$(BIN)/embed-job iam jobs/nightly.yaml --out docs/iam/schedule

# The dev lock holds the cpu lock's versions, so one folder serves both.
$(VENV)/dev.stamp: requirements/dev.txt | $(VENV)/cpu.stamp
	@echo "Installing what the tests need (torch among it) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

# Of an extra, where the dev lock, which holds all of them, is not installed.
$(VENV)/%.stamp: requirements/%.txt | $(VENV)/cpu.stamp
	@test $(VENV)/dev.stamp -nt requirements/dev.txt || { \
	  echo "Installing what submitting needs ($*) ..."; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<; }
	@touch $@

NATIVE := src/embed_job/engine/native
KERNELS := $(NATIVE)/compile.py $(wildcard $(NATIVE)/kernels/*)

# Installing the package compiles its kernels.
$(VENV)/cpu.stamp: requirements/cpu.txt pyproject.toml hatch_build.py $(KERNELS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is needed (Debian: apt-get install python3-venv)." >&2; exit 2; }
	@echo "Installing the CPU engine into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/cpu.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-header
lock: $(VENV)/dev.stamp ## Lock the dependencies anew
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) pyproject.toml requirements/build.in --extra dev --extra launcher --extra local -o requirements/dev.txt
	$(COMPILE) pyproject.toml requirements/build.in -c requirements/dev.txt -o requirements/cpu.txt
	$(COMPILE) requirements/compile.in -c requirements/dev.txt -o requirements/compile.txt
	$(COMPILE) --no-deps requirements/image.in -c requirements/dev.txt -o requirements/image.txt
	$(COMPILE) pyproject.toml --extra gpu -c requirements/dev.txt -o requirements/gpu.txt
	$(COMPILE) pyproject.toml --extra launcher -c requirements/dev.txt -o requirements/launcher.txt
	$(COMPILE) pyproject.toml --extra local -c requirements/dev.txt -o requirements/local.txt
	for peers in current infinity onnx; do \
	  $(COMPILE) benchmarks/peers/locks/$$peers.in -o benchmarks/peers/locks/$$peers.txt; done

clean: ## Remove what was made, but neither the model nor the jars
	rm -rf $(VENV) $(NATIVE)/libraries out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

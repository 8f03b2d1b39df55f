# `make run` and `make test` are all that a fresh machine needs; each makes its own virtual environment.
PYTHON ?= python3
PORT ?= 7071
PRECISION ?= int8
MODEL ?= distilbert/distilgpt2
# By default models/<name of MODEL>.
OUT ?=
# The draft table: how many tokens to learn it from (0: no table), its bytes at most, and a text instead of the model's own.
DRAFT_TOKENS ?=
DRAFT_SIZE ?=
DRAFT_TEXT ?=
SOAK_MINUTES ?= 30
MODULE ?= stopping
# Further arguments for pip where torch is installed, such as the index of its CPU builds.
TORCH_PIP_ARGS ?=

# What Azure itself runs on Python 3.13 is tested where there is one, on PATH or among pyenv's.
PYTHON313 ?= $(shell for python in python3.13 $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.13.*/bin/python3.13; do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)
RUNTIME := $(if $(PYTHON313),.venv-runtime/installed)

# pip reads the dependency groups of pyproject.toml from 25.1 on; what Python brings may be older.
PIP := pip==26.3
define venv
	$(1) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet $(PIP)
endef

RUN := .venv/bin/python
DEV := .venv-dev/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHON_ENABLE_INIT_INDEXING := 1

.PHONY: image-check lint-az lint-deploy run test test-heavy fuzz clients soak hostile coverage mutants audit lint format model model-plan demo bench bench-all bench-peers bench-scale bench-vllm lock site site-serve clean

run: .venv/installed
	@exec $(RUN) -m generation serve --port $(PORT)

test: .venv-dev/installed $(RUNTIME)
	$(DEV) -m pytest

test-heavy: .venv-dev/installed $(RUNTIME)
	$(DEV) -m pytest -m heavy

# Requests made of the OpenAPI document; FUZZ_EXAMPLES for each route.
fuzz: .venv-dev/installed .venv-fuzz/installed
	$(DEV) -m pytest -m heavy -rP tests/project/test_fuzz.py tests/api/test_openapi_generators.py

# Clients of chats and of Hugging Face's contract, unmodified; those for Node.js where npm is installed.
clients: .venv-dev/installed .venv-clients/installed .venv-clients/npm/installed
	$(DEV) -m pytest -m heavy tests/project/test_clients.py

soak: .venv-dev/installed
	$(DEV) -m benchmarks.soak --minutes $(SOAK_MINUTES)

# Hostile requests beside a stream and a probe: who else notices? Then the first token of short requests beside a list.
hostile: .venv-dev/installed
	$(DEV) -m benchmarks.hostile
	$(DEV) -m benchmarks.hostile --beside-a-list

# Lines and branches of generation/ that the fast suite runs, its servers included.
coverage: .venv-dev/installed $(RUNTIME)
	rm -f .coverage .coverage.*
	$(DEV) -m coverage run --rcfile=tests/coverage.toml -m pytest
	$(DEV) -m coverage combine --rcfile=tests/coverage.toml --quiet
	$(DEV) -m coverage report --rcfile=tests/coverage.toml

# Mutants that the tests do not kill, of tests/mutation/$(MODULE).toml: stopping, tokenizer, sampling or scheduler. On a copy.
mutants: .venv-dev/installed .venv-mutants/installed
	rm -rf .mutants && mkdir .mutants && git archive HEAD | tar x -C .mutants
	ln -s ../.venv-dev .mutants/.venv-dev
	cd .mutants && ../.venv-mutants/bin/cosmic-ray init tests/mutation/$(MODULE).toml session.sqlite
	cd .mutants && ../.venv-mutants/bin/cr-filter-operators session.sqlite tests/mutation/$(MODULE).toml
	cd .mutants && PATH="$$PWD/../.venv-mutants/bin:$$PATH" cosmic-ray exec tests/mutation/$(MODULE).toml session.sqlite
	cd .mutants && ../.venv-mutants/bin/cr-report --surviving-only --show-diff session.sqlite

# Known weaknesses of the run-time packages; needs a network that reaches the advisory service.
audit: .venv-mutants/installed
	.venv-mutants/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.txt

lint: .venv-dev/installed
	$(DEV) -m ruff check .
	$(DEV) -m ruff format --check .
	$(DEV) -m mypy
	.venv-dev/bin/lint-imports --no-logo --no-cache

format: .venv-dev/installed
	$(DEV) -m ruff check --fix .
	$(DEV) -m ruff format .

DRAFTS = $(if $(DRAFT_TOKENS),--draft-tokens $(DRAFT_TOKENS)) $(if $(DRAFT_SIZE),--draft-size $(DRAFT_SIZE)) \
	$(if $(DRAFT_TEXT),--draft-text "$(DRAFT_TEXT)")

model: model-plan .venv-dev/installed
	$(DEV) -m generation.export "$(MODEL)" $(if $(OUT),"$(OUT)") --precision $(PRECISION) $(DRAFTS)

model-plan:
	@scripts/model-plan.sh "$(MODEL)" "$(OUT)" .venv-dev/installed "$(DRAFT_TOKENS)"

# The bundled model: train the checkpoint with `$(DEV) -m generation.export.train TEXT models/demo/checkpoint`, then this.
demo: .venv-dev/installed
	$(DEV) -m generation.export models/demo/checkpoint models/demo --precision int8 --name tinystories-demo

# Speed beside peers, at DistilGPT2's size: some ten minutes a round on an idle machine. BENCH_ARGS=--help says more.
bench: .venv-dev/installed .bench/venv/plot/installed
	$(DEV) -m benchmarks.compare $(BENCH_ARGS)

# All of it: the peers, four rounds beside them, and the curves of docs/scale.md. An hour and a half on an idle machine, the
# first time more. vLLM is left out, and the report says so, where its package cannot be had.
bench-all: bench-peers
	-$(MAKE) bench-vllm
	$(MAKE) bench
	$(MAKE) bench-scale

# How cost grows with load: docs/scale.md.
bench-scale: .venv-dev/installed .bench/venv/plot/installed
	$(DEV) -m benchmarks.compare --prepare --only "ours int8"
	$(DEV) -m benchmarks.scale measure .bench/ours-int8 --again
	$(DEV) -m benchmarks.scale simulate
	$(DEV) -m benchmarks.scale write

# An environment for each peer. llama.cpp is compiled, which takes minutes; with AMX its version here crashes.
PEERS := ctranslate2 openvino llama
ifeq ($(shell uname -m),x86_64)
.bench/venv/llama/installed: export CMAKE_ARGS := -DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8
.bench/venv/llama/installed: export PIP_NO_CACHE_DIR := 1
endif
bench-peers: $(PEERS:%=.bench/venv/%/installed)

# vLLM's server on its CPU backend: 3.5 GB.
bench-vllm: .bench/venv/vllm/installed

.bench/venv/%/installed: benchmarks/requirements-%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet $(TORCH_PIP_ARGS) -r $<
# optimum-intel asks for torchvision; no text model needs it, and one of another build than torch breaks the conversion.
	$(if $(filter openvino vllm,$*),$(@D)/bin/python -m pip uninstall --quiet --yes torchvision)
# The same goes for what vLLM brings for sound and images.
	$(if $(filter vllm,$*),$(@D)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec)
	$(if $(filter vllm,$*),$(@D)/bin/python -m benchmarks.vllm_metadata)
	@touch $@

# The Dockerfile built and run without a Docker engine; as root, needs buildah and podman.
image-check:
	scripts/image-check.sh

lint-deploy: .venv-deploy/installed
	scripts/lint-deploy.sh

# Every az line of the documentation and the scripts, parsed by the Azure CLI itself: its environment is large.
lint-az: .venv-az/installed
	.venv-az/bin/python scripts/lint_az.py README.md docs/*.md scripts/*.sh

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--quiet requirements.in -o requirements.txt

# The documentation site, in site/. SITE_URL and REPO_URL are the addresses of the site and of the repository.
site: .venv/installed .venv-site/installed
	rm -rf .site site
	$(RUN) -m scripts.site_pages .site
	.venv-site/bin/zensical build --clean --strict

site-serve: site
	$(RUN) -m http.server --directory site --bind 127.0.0.1 8000

clean:
	rm -rf .site .cache site .venv .venv-az .venv-clients .venv-deploy .venv-dev .venv-runtime .venv-fuzz .venv-mutants .venv-site .pytest_cache .mypy_cache .ruff_cache .hypothesis .mutants .schemathesis tests/fuzz/.schemathesis

.venv/installed: requirements.txt
	$(call venv,$(PYTHON))
	.venv/bin/pip install --quiet --require-hashes -r requirements.txt
	@touch $@

.venv-dev/installed: requirements.txt pyproject.toml
	$(call venv,$(PYTHON))
	.venv-dev/bin/pip install --quiet --require-hashes -r requirements.txt
	.venv-dev/bin/pip install --quiet $(TORCH_PIP_ARGS) --group export --group dev
	@touch $@

.venv-runtime/installed: requirements.txt pyproject.toml
	$(call venv,$(PYTHON313))
	.venv-runtime/bin/pip install --quiet --require-hashes -r requirements.txt
	.venv-runtime/bin/pip install --quiet --group runtime
	@touch $@

# The AI SDK, in the last version for Node.js 18 and later.
.venv-clients/npm/installed: .venv-clients/installed Makefile
	mkdir -p $(@D)
	! command -v npm >/dev/null || npm install --silent --no-package-lock --prefix $(@D) ai@6.0.325 @ai-sdk/openai-compatible@2.0.92
	@touch $@

# Tools that need an environment of their own: deploy, az, fuzz, mutants, clients, site.
.venv-%/installed: pyproject.toml
	$(call venv,$(PYTHON))
	$(@D)/bin/pip install --quiet --group $*
	@touch $@

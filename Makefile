# make run    everything from a web archive to a trained model, on a real site (QUICK=1: short training)
# make test   the tests; `make lint`: style, types, import directions; `make bench`: the benchmarks
# make docs   rewrites the generated pages of docs/; `make peers`: the tools that read our exports, for their tests
# make img2dataset  img2dataset in an environment of its own, for its tests and for the benchmark of fetching
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out/gimp-manual
QUICK ?=
BENCHMARKS ?= engine extract fetch fetch_memory queries dedup dedup_quality manifests plan trainer emoji

# Tools that read our exports; they bring pandas, which slows down every process that has it. And an
# S3 server with its clients, for one test.
PEERS := datasets mlcroissant pandas wids 'moto[s3]' flask flask-cors s3fs

.PHONY: setup peers img2dataset run test slow lint format docs bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: setup.py constraints.txt manifests/base/version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: python: $$($(PYTHON) --version): openwit needs Python 3.11 or newer; set PYTHON=..."; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: python: no venv module: install it, on Debian: apt-get install python3-venv"; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[train,dev]"
	@if [ -d .git ] && [ -z "$$CI" ]; then $(BIN)/pre-commit install >/dev/null || true; fi
	@touch $@

# An environment of their own, which sees the project's packages too.
peers: $(VENV)/peers/.ready

$(VENV)/peers/.ready: $(VENV)/.ready
	@$(BIN)/python -m venv $(VENV)/peers
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  "$$($(VENV)/peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	$(VENV)/peers/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PEERS)
	@touch $@

# It needs older versions of what others need, and a Python below 3.13: without one its tests are skipped.
img2dataset: $(VENV)/img2dataset/.ready

$(VENV)/img2dataset/.ready: $(VENV)/.ready
	@mkdir -p $(VENV)/img2dataset
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
	  $(BIN)/python -m venv $(VENV)/img2dataset && \
	  $(VENV)/img2dataset/bin/pip install --quiet --disable-pip-version-check img2dataset==1.47.0; fi
	@touch $@

run: setup
	$(BIN)/python examples/gimp_manual/run.py --out "$(OUT)" $(if $(QUICK),--quick)

test: setup peers img2dataset
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal -m "not slow and not gpu"

slow: setup peers
	$(BIN)/pytest -m "slow and not gpu"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python docs/generate.py

# A benchmark that cannot get its peer or its data says so and exits with 3.
bench: setup img2dataset
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[bench]"
	@mkdir -p out/bench
	@for part in $(BENCHMARKS); do echo "== $$part"; \
	  $(BIN)/python -m benchmarks.$$part --quick --json out/bench/$$part.json || [ $$? -eq 3 ] || exit 1; done

clean:
	rm -rf $(VENV) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

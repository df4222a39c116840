# Every target sets up what it needs: a virtual environment in the checkout. Python 3.11 and make are enough.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-loops check bench bench-peers conformance conformance-suites conformance-cluster faults binary format clean

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "daemun needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(READY) ## the gateway, with a service that starts from zero
	$(BIN)/daemun demo

test: $(READY) ## the tests, in a few minutes
	$(BIN)/python -m pytest --numprocesses 3

test-loops: $(READY) ## the same on trio, and on asyncio's own loop
	$(BIN)/python -m pytest --numprocesses 3 --other-loops

check: $(READY) ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## what a request costs here, in under five minutes
	$(BIN)/python -m pytest bench/overhead --benchmark-columns=min,median,rounds
	$(BIN)/python -m bench.peers

bench-peers: $(READY) ## beside every proxy that can be installed, an hour and more
	$(BIN)/python -m bench.peers install
	$(BIN)/python -m bench.peers run --full

conformance: conformance-suites conformance-cluster ## suites that nobody here wrote; with --jobs 2 in half the time

conformance-suites: $(READY)
	$(BIN)/python -m pytest -m conformance --ignore=tests/conformance/kubernetes

conformance-cluster: $(READY)
	$(BIN)/python -m pytest -m conformance tests/conformance/kubernetes

faults: $(READY) ## killed upstreams, full descriptors, gigabytes
	$(BIN)/python -m pytest -m faults

binary: $(READY) ## dist/daemun: one file with Python and every plugin of .venv; needs a C compiler
	$(BIN)/daemun build

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache

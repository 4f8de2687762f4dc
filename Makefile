# Each target works as the only command in a fresh clone: the first run makes .venv and installs what it needs into it,
# for the demo the library and what its command needs, for all others the tools of development as well.

VENV    := .venv
BIN     := $(VENV)/bin
LIBRARY := $(VENV)/.library
TOOLS   := $(VENV)/.tools
# The tests of the rooms where every branch is tested; their coverage is a gate, not a figure.
CORE    := tests/unit tests/scenarios tests/conformance $(addprefix tests/property/test_,charge.py chunking.py codec.py) tests/hostile/test_wire.py

# These run on the pure code and, where that was built, on the code in C as well.
TWICE   := tests/unit/wire tests/conformance tests/hostile/test_wire.py
NATIVE  := $(wildcard setup.py capnet/native/*.[ch])

# What `make soak` holds to the bars in milliseconds and bytes, or repeats more often, beside the long programme.
BARS    := $(wildcard tests/hostile/test_t*.py) tests/hostile/test_gateways.py $(addprefix tests/gateways/test_,hostile_clients.py mcp_hostile.py) tests/transports/test_noise.py tests/host/test_swap_under_load.py $(addprefix tests/integration/test_,kills.py starts.py) tests/scenarios/test_revoke_races.py

# Tests run side by side, in one process more than there are cores, as many of them wait; `make WORKERS=0 test` runs them
# one after another, for a debugger.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# They start programs by the hundred, which take three times as long to begin where nothing was compiled before.
unexport PYTHONDONTWRITEBYTECODE
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST  := $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal
# Those that start no programs need no process more: each costs the time to collect all tests.
BUSY    := $(BIN)/pytest --numprocesses $(if $(filter 0,$(WORKERS)),0,$(shell getconf _NPROCESSORS_ONLN)) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo native sanitize test interop test-lowest test-newest check soak lint types docs bench bench-compare bench-scaling format clean

help:  ## print this list
	@sed -n 's/^\([a-z -]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 32

demo: $(LIBRARY)  ## see it work
	$(BIN)/python -m capnet demo

native: $(TOOLS)  ## build the code in C in place; all else does so only if there is a compiler
	$(PIP) --no-deps --editable .
	$(BIN)/python -c 'import capnet.native.core'

sanitize: $(TOOLS)  ## the tests of the code in C under the address and undefined behaviour sanitizers of gcc
	trap '$(MAKE) native' EXIT; set -e; \
	CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined' \
		$(PIP) --no-deps --editable .; \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc CAPNET_NATIVE_INPUTS=$${CAPNET_NATIVE_INPUTS:-100000} \
		$(BIN)/pytest --numprocesses 0 tests/native tests/soak/test_native.py tests/unit/wire tests/conformance

test: $(TOOLS)  ## everything a change must pass, coverage gate included
	CAPNET_PURE=1 $(BUSY) --cov --cov-report term-missing:skip-covered --cov-fail-under 100 $(CORE)
	$(PYTEST) $(addprefix --ignore=,$(CORE))
	if $(BIN)/python -c 'import capnet.native as native; raise SystemExit(not native.RUNS)'; then $(BUSY) $(TWICE); fi

# It needs a network the first time; a test that is skipped, because what it needs is not there, counts as failed.
interop: $(TOOLS)  ## the tests against programs of others, which it installs where they are missing (apt, npm, pip)
	tests/interop/install.sh $(BIN)/python
	CAPNET_INTEROP=whole PYTHONPATH="$$(echo $(CURDIR)/build/interop/python/lib/python3*/site-packages)" $(PYTEST) tests/interop

# An environment of their own, made anew each time, whose versions are told before the tests begin.
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest:  ## the tests with the lowest and with the newest versions that pyproject.toml allows
	rm -rf build/$@
	$(MAKE) VENV=build/$@ build/$@/.library
	build/$@/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/$@/bin/uv pip install --quiet --python build/$@ --upgrade --resolution $(RESOLUTION) --editable '.[dev]'
	build/$@/bin/uv pip list --quiet --python build/$@
	@touch build/$@/.tools
	$(MAKE) VENV=build/$@ test

check: test lint types docs  ## test, lint, types and docs

soak: $(TOOLS)  ## the long programme: simulation, hostile peers, fuzzing, kill -9, a day's work; an hour or more
	$(PIP) --editable '.[dev,fuzz]'
	CAPNET_HYPOTHESIS=deep CAPNET_BARS=1 $(BIN)/pytest -s --timeout 14400 tests/soak tests/property/test_pair_machine.py $(BARS)
	CAPNET_LOOPS=every $(PYTEST) -k uvloop

lint: $(TOOLS)  ## format, style and import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports

types: $(TOOLS)  ## mypy --strict and pyright strict
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(TOOLS)  ## build the documentation; a warning fails
	$(BIN)/sphinx-build -n -W --keep-going -q docs build/docs

# Each writes what it measured to a file too, for `python -m benchmarks plot` and for comparisons with later runs.
bench: $(TOOLS)  ## performance against the floors, as ratios, also over the network; ten minutes
	$(BIN)/python -m benchmarks --json build/bench.json
	$(BIN)/python -m benchmarks carriers --json build/carriers.json

bench-compare: $(TOOLS)  ## the same beside other libraries, which it installs into build/compare-venv; half an hour
	$(BIN)/python -m benchmarks compare --environments build/compare-venv --json build/compare.json

bench-scaling: $(TOOLS)  ## how cost grows with exports, connections, calls in flight, sizes, observers; five minutes
	$(BIN)/python -m benchmarks scaling --json build/scaling.json

format: $(TOOLS)  ## rewrite files in the project's format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## remove whatever was built, .venv included
	rm -rf .venv build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `make PYTHON=/path/to/python` chooses the interpreter; otherwise the first that is new enough and can make a venv.
$(LIBRARY): pyproject.toml
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
		if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
		then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "capnet needs Python 3.11 or newer with the venv module (on Debian: apt install python3-venv)." >&2; \
		echo "None of python3.11 … python3.14, python3, python is that; name one with: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	set -ex; $$found -m venv --clear $(VENV)
	$(PIP) --editable '.[cli]'
	@touch $@

$(TOOLS): $(LIBRARY) $(NATIVE)
	$(PIP) --editable '.[dev]'
	@touch $@

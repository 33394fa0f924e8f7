# `make train` and `make test` need Python 3.11 or newer and make, nothing else: they keep to their own .venv.

VENV ?= .venv
BIN := $(VENV)/bin
# ORACLE=1 installs real PyTorch too, which many tests compare with.
ORACLE ?=
JOBS ?= 2
# PYTHON=... names the interpreter to build the environment with; without it the newest enough one found is taken.
export PYTHON
ARGS ?=

INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PACKAGING := pyproject.toml setup.py
TESTED := $(VENV)/.test$(if $(ORACLE),-oracle)

.PHONY: help train test test-gpu gpu lint format types stubs pre-commit wheel clean

help:
	@echo "make train     train a small conv net on handwritten digits (ARGS='--epochs 3' passes options on)"
	@echo "make test      run the tests, the cuda device simulated (ORACLE=1: beside real PyTorch)"
	@echo "make test-gpu  run the same suite on a real NVIDIA GPU"
	@echo "make gpu       on a host with one: tests, benchmarks beside PyTorch, bench/results/<date>-<gpu>/"
	@echo "make lint      ruff: rules and formatting; make format repairs what it can"
	@echo "make types     mypy over the whole package"
	@echo "make stubs     write the .pyi files of the generated ops anew"
	@echo "make pre-commit  lint and format before each commit from now on"
	@echo "make wheel     build the wheel into dist/"
	@echo "make clean     remove what these targets made"

# The net's matrices are small: a second BLAS thread waits more than it works, most of all where others compute as well.
train: export OPENBLAS_NUM_THREADS ?= 1
train: $(VENV)/.examples
	$(BIN)/python examples/train_digits.py $(ARGS)

test: $(TESTED)
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

test-gpu: $(VENV)/.test
	$(BIN)/python -m pytest -m "gpu or not gpu" $(ARGS)

# No .venv: what the host's own Python has (PyTorch, CuPy, Triton) is what is compared; see .ci/gpu.py.
gpu:
	$(or $(PYTHON),python3) .ci/gpu.py $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/python .ci/typing_tree.py
	$(BIN)/mypy

stubs: $(VENV)/.dev
	$(BIN)/python .ci/make_stubs.py

pre-commit: $(VENV)/.dev
	$(BIN)/pre-commit install

wheel: $(VENV)/.base
	rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist naiad.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per set of extras, so that a second run installs nothing.
$(VENV)/.base: $(PACKAGING)
	sh .ci/make_venv.sh $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/.examples: $(VENV)/.base
	$(INSTALL) --editable ".[examples]"
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(INSTALL) --editable ".[test]"
	touch $@

$(VENV)/.test-oracle: $(VENV)/.base
	$(INSTALL) --editable ".[test,oracle]"
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(INSTALL) --editable ".[dev,test]"
	touch $@

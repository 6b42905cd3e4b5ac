# make demo      the main job on a bare machine: installs into .venv, runs, writes pictures into demo/
# make test      everything CI checks: ruff, mypy, pytest with doctests, README and notebooks
# make coverage  the tests again, counting the lines they reach
# make readme    renews the outputs and pictures in the README
# make bench     speed, printed against its limits
# PYTHON=…       the interpreter to build .venv with (3.11 or newer)

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A stamp's name holds what the installation depends on: the requirements, the folder, the interpreter.
KEY := $(shell { cat pyproject.toml; pwd; "$(PYTHON)" -c 'import sys; print(sys.version)'; } 2>/dev/null | cksum | cut -d' ' -f1)
BASE := $(VENV)/installed-$(KEY)
DEV := $(VENV)/installed-dev-$(KEY)
# An environment whose interpreter or command is gone is installed again, whatever its stamps say.
$(shell { $(BIN)/python -c '' && test -x $(BIN)/simgpu; } 2>/dev/null || rm -f $(VENV)/installed-*)
LIGHT_RESNET = $$($(BIN)/python -c 'import importlib.util as u, pathlib as p; print(p.Path(u.find_spec("onnx").origin).parent / "backend/test/data/light/light_resnet50.onnx")')

.PHONY: help demo test lint check-types pytest coverage bench readme clean
.DEFAULT_GOAL := help

help:
	@sed -n -e 's/^# make/make/p' -e 's/^# PYTHON/PYTHON/p' Makefile

# A virtual environment that works here: one that was moved, or whose interpreter went away, is made anew.
define create_venv
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is no Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -c 'import os, sys; sys.exit(not os.path.samefile(sys.prefix, "$(VENV)"))' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
endef

$(BASE):
	$(create_venv)
	@echo "installing simgpu into $(VENV) …"
	@$(PIP) -e .
	@rm -f $(VENV)/installed-[0-9]*
	@touch $@

$(DEV):
	$(create_venv)
	@echo "installing simgpu and its test tools into $(VENV) …"
	@$(PIP) -e '.[dev]'
	@rm -f $(VENV)/installed-*
	@touch $(BASE) $@

demo: $(BASE)
	@mkdir -p demo
	$(BIN)/simgpu run resnet50 --gpu a100 --batch 32 --dtype fp16 --roofline demo/resnet50-a100-roofline.png --timeline demo/resnet50-a100-timeline.png --trace demo/resnet50-a100-trace.json
	$(BIN)/simgpu run "$(LIGHT_RESNET)" --gpu t4 --batch 8 --dtype fp16 --runtime tensorrt --roofline demo/onnx-t4-roofline.png
	$(BIN)/simgpu roofline resnet50 mobilenet_v2 --gpu a100 --gpu t4 --batch 32 --dtype fp16 -o demo/four-rooflines.png
	@echo "Pictures and a trace for https://ui.perfetto.dev:"
	@ls demo/*

test: lint check-types pytest

lint: $(DEV)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

check-types: $(DEV)
	$(BIN)/python -m mypy

pytest: $(DEV)
	$(BIN)/python -m pytest

coverage: $(DEV)
	$(BIN)/python -m pytest --cov=simgpu --cov-report=term --cov-fail-under=85

# writes what the README's commands print, and their pictures, into the README
readme: $(DEV)
	PYTHONPATH=. $(BIN)/python tests/test_docs.py --errors

bench: $(DEV)
	$(BIN)/python tests/benchmarks/bench.py
	$(BIN)/python tests/benchmarks/sweep.py

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find simgpu tests models -name __pycache__ -type d -prune -exec rm -rf {} +

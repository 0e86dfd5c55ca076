PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test wheel-test lint wrappers clean

demo: $(VENV)/installed
	$(BIN)/python -m casa_ml_tasks.demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 20

# What a user has: the wheel and its dependencies alone, away from the checkout, and no data of CASA's in the home folder.
wheel-test:
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PYTHON) -m venv "$$folder/venv" && \
	"$$folder/venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$$folder" . && \
	"$$folder/venv/bin/python" -m pip install --quiet "$$folder"/*.whl && \
	cd "$$folder" && env -u PYTHONPATH HOME="$$folder" venv/bin/python "$(CURDIR)/tests/plain_install.py"

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

wrappers: $(VENV)/installed
	$(BIN)/python -m casa_ml_tasks.task_generator
	$(BIN)/ruff format casa_ml_tasks/wrappers casa_ml_tasks/gotasks

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo

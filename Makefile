PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint wrappers clean

demo: $(VENV)/installed
	$(BIN)/python -m casa_ml_tasks.demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

wrappers: $(VENV)/installed
	$(BIN)/python casa_ml_tasks/task_generator.py xml casa_ml_tasks
	$(BIN)/ruff format casa_ml_tasks/wrappers casa_ml_tasks/gotasks

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo

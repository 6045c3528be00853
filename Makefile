# Every target sets up what it needs by itself and reuses it the next time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-ray fuzz kills lint format docs bench screenshots vendor axe clean

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Sequela needs Python 3.11 or newer; set PYTHON=… (this is " + sys.version.split()[0] + ")" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --group docs --editable ".[attribution,decoders,lines,otlp,outcomes,pandas,plots,serve,sql,xes,xlsx]"
	@touch $@

demo: $(READY)
	$(BIN)/sequela simulate fault_codes --cases 300 --out demo/log.csv --truth demo/truth.parquet
	$(BIN)/sequela run demo/log.csv --case vehicle --event component --event code --time time --out demo/answer --overwrite
	$(BIN)/sequela evaluate demo/answer demo/truth.parquet
	@echo "open demo/answer/report.html"

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Needs the extra "ray"; a cluster of two actors on this machine.
test-ray: $(READY)
	$(BIN)/python -c "import ray"
	$(BIN)/python -m pytest -m slow tests/execution/test_ray.py

# Random and damaged logs, models and results (INPUTS of them), and a thousand kills and losses of power.
INPUTS ?= 1000000
fuzz: $(READY)
	$(BIN)/python tests/fuzz/test_fuzz.py --inputs $(INPUTS)

kills: $(READY)
	$(BIN)/python -m pytest -m slow tests/execution/test_kills.py tests/execution/test_power.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/python tools/build_docs.py

bench: $(READY)
	$(BIN)/python benchmarks/alarms.py

# Pictures of the page for the documentation; needs a Chromium.
screenshots: $(READY)
	$(BIN)/python tools/screenshots.py

# JavaScript libraries of the page, from their npm packages; needs npm.
vendor:
	$(PYTHON) tools/vendor.py

# The checker of accessibility that the page's tests use when it is there; not shipped (MPL-2.0); needs npm.
axe:
	$(PYTHON) tools/axe.py

clean:
	rm -rf $(VENV) demo site .cache docs/reference/commands.md docs/reference/python.md .pytest_cache .mypy_cache .ruff_cache .hypothesis

# prefloop. `make` alone lists the targets.
PYTHON ?= python3
VENV   ?= .venv
# On a machine with a GPU name another build, for instance: make setup TORCH="torch==2.14.1"
TORCH  ?= torch==2.13.0
BIN    := $(VENV)/bin
# pip compiles what it installs on one core, which takes as long as all the rest. Two fifths are left out, which hardly
# anything imports; and some packages hold files for other Pythons, which do not compile.
PIP     := install --quiet --disable-pip-version-check --no-compile -c constraints.txt
RARE    := site-packages/.*/(tests?|models|_inductor)/
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '$(RARE)' $(VENV)/lib >/dev/null || true
ARGS   ?=

# Containers tend to set it. Every process would compile all of our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo ui worker test lint format bench pictures

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One marker for each set of packages: what is installed already costs nothing.
$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.pip pyproject.toml constraints.txt
	$(BIN)/pip $(PIP) "$(TORCH)" -e ".[train,oidc]"
	@$(COMPILE)
	@touch $@

# All at once where nothing is there yet; torch stays the one that was chosen before.
$(VENV)/.dev: $(VENV)/.pip pyproject.toml constraints.txt
	$(BIN)/pip $(PIP) $(if $(wildcard $(VENV)/.run),,"$(TORCH)") -e ".[train,oidc,test,lint]"
	@$(COMPILE)
	@touch $(VENV)/.run $@

setup: $(VENV)/.run ## Install into .venv what the loop needs

demo: $(VENV)/.run ## Run the whole loop, two rounds, with simulated annotators
	$(BIN)/prefloop demo $(ARGS)

ui: $(VENV)/.run ## Open the labeling UI on the same store
	$(BIN)/prefloop ui $(ARGS)

worker: $(VENV)/.run ## Do scheduled and queued runs, and queue what is due, until it is ended
	$(BIN)/prefloop worker --tick $(ARGS)

# A worker takes a fourth of all tests in their order, so that a module's server serves them all; who is done first takes
# over half of what another still has. By whole files the last one, a storm or a browser, would keep one core idle.
# With four, two cores are busy all the time, though a browser's tests wait for half of theirs.
test: $(VENV)/.dev ## Run the whole test suite
	$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

lint: $(VENV)/.dev ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## Run the loop's benchmark; results are kept per cell
	$(BIN)/python benchmarks/planted_taste.py $(ARGS)

pictures: $(VENV)/.dev ## Take the README's pictures anew, from the demo's store
	$(BIN)/python docs/make_pictures.py

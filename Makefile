# Two commands are all a newcomer needs: `make demo` and `make test`. Each command sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
# modules stay compiled: otherwise every process compiles torch and all the rest anew
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test lint docs real clean
demo: .venv/.installed
	$(BIN)/qrdistill demo

test: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Two pretrained models on GSM8K: DATA is a folder with example_model_solutions.jsonl (see docs/real.md)
real: .venv/.installed-dev
	@test -n "$(DATA)" || { echo "make real DATA=DIR: DIR holds GSM8K's example_model_solutions.jsonl (docs/real.md)"; exit 2; }
	$(BIN)/python examples/real/make_gsm8k.py --data $(DATA)
	$(BIN)/python examples/real/get_models.py
	$(BIN)/qrdistill run examples/real/gsm8k.yaml

lint: .venv/.installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright && $(BIN)/lint-imports

docs: .venv/.installed-docs
	$(BIN)/mkdocs build --strict

# torch first and pinned: an unpinned torch brings gigabytes of CUDA along
# packages are compiled on all cores at the end, which pip does on one
COMPILE := $(BIN)/python -W ignore -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
PIP := $(BIN)/pip install -q --no-compile --disable-pip-version-check -c constraints.txt
.venv/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qrdistill needs Python 3.11 or newer; run: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	touch $@

.venv/.installed: .venv/.torch pyproject.toml
	$(PIP) -e .
	$(COMPILE)
	touch $@

# one call of pip for all that the tests need: a second one would look everything up again
.venv/.installed-dev: .venv/.torch pyproject.toml
	$(PIP) -e '.[dev]'
	$(COMPILE)
	$(BIN)/python examples/real/get_models.py smollm2
	touch .venv/.installed $@

.venv/.installed-docs: .venv/.installed
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv runs build site

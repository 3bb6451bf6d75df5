# `make help` lists the targets; all that need packages install them first, into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile \
  --use-pep517 -c constraints.txt
# One process per core, each with whole files, in the given order: the last are short.
CORES := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help install demo quick test test-parity test-full test-browser test-newest fresh \
  package lint format bench notebooks docs golden check-launch clean

help:
	@echo "make demo         build the corpus, train four methods, write runs/demo/report.html"
	@echo "make quick        a detector's verdict on three recordings: runs/quick/report.html"
	@echo "make test         run the tests: no corpus, no torch, offline once installed"
	@echo "make test-parity  compare with torch, transformers and peft (installs them)"
	@echo "make test-browser test the page of mldg export --format web in Chromium and Node.js"
	@echo "make test-full    run all tests, including those of full-size models"
	@echo "make test-newest  run the tests with the newest release of every package (.venv-newest)"
	@echo "make fresh        try README, tests and demo in new Debian 12 and 13 (root; an hour)"
	@echo "make package      build sdist and wheel, and try the wheel outside the checkout"
	@echo "make install      create .venv with pinned dependencies"
	@echo "make lint         run ruff format --check, ruff check and pyright"
	@echo "make bench        run benchmarks/ (installs torch)"
	@echo "make docs         build the documentation, docs/_build/html/index.html"
	@echo "make check-launch validate what mldg launch prints with the readers' own tools"
	@echo "make notebooks    execute notebooks/*.py on DebSpoof and write their .ipynb"

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg setup.py constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; choose one: make PYTHON=python3.11 install"; exit 2; }
	@# without python3-venv, Debian's venv module leaves a python that has no pip
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "no venv module; on Debian/Ubuntu: sudo apt-get install python3-venv; then again"; exit 2; }
	@echo "installing pinned dependencies into $(VENV) (2.2 GB, 1-2 minutes)"
	@$(PIP) -e '.[whisper,debspoof,notebooks,test]' || { command -v g++ >/dev/null || \
	  echo "if a package has no wheel for this Python and machine, it is compiled, for" \
	    "which there is no compiler: sudo apt-get install g++ python3-dev; then again"; \
	  exit 1; }
	@# pip compiles on one core; left out, every start costs seconds wherever Python
	@# may not write beside its sources
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

$(VENV)/.parity: $(VENV)/.installed
	@$(PIP) -e '.[parity]'
	@touch $@

# Options: make demo ARGS='--seeds 1'
demo: install
	@$(BIN)/mldg demo $(ARGS)

quick: install
	@$(BIN)/mldg demo --quick $(ARGS)

test: install
	@$(BIN)/python -m pytest -m "not parity and not full and not browser" $(CORES)

test-parity: $(VENV)/.parity
	@XLA_FLAGS= $(BIN)/python -m pytest -m "parity and not full and not browser" $(CORES)

test-full: $(VENV)/.parity
	@XLA_FLAGS= $(BIN)/python -m pytest -m "not browser"

# Node.js comes with pyright's wheel; onnxruntime-web is fetched once (33 MB).
test-browser: install
	@test -n "$$CHROMIUM$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" || \
	  { echo "Chromium is needed: apt-get install chromium, or CHROMIUM=/path/to/chrome"; exit 2; }
	@$(PIP) -e '.[browser]'
	@$(BIN)/python -m pytest -m browser tests/exporting/web_page

# Without constraints.txt; make test-newest PYTHON=python3.13 for another Python.
test-newest:
	@$(PYTHON) -m venv --clear .venv-newest
	@.venv-newest/bin/pip install --quiet --disable-pip-version-check --no-compile \
	  --use-pep517 -e '.[test]'
	@.venv-newest/bin/pip freeze --exclude-editable | grep -iE '^(jax|flax|numpy|optax|orbax)'
	@.venv-newest/bin/python -m pytest -m "not parity and not full and not browser" $(CORES)

# Run before every release and after any change to the installed packages.
fresh:
	@.ci/fresh

package: install
	@.ci/package

lint: install
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: install
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: $(VENV)/.parity
	@for script in benchmarks/*.py; do $(BIN)/python $$script; done

notebooks: install
	@$(BIN)/python notebooks/build.py

$(VENV)/.docs: $(VENV)/.installed
	@$(PIP) -e '.[docs]'
	@touch $@

# Every warning is an error: a link that leads nowhere, a page that no page lists.
docs: $(VENV)/.docs
	@$(BIN)/python -m sphinx --quiet --nitpicky --fail-on-warning --keep-going \
	  docs docs/_build/html
	@echo "docs/_build/html/index.html: open it in a browser"
check-launch: install
	@.ci/check-launch

golden: $(VENV)/.parity
	@for maker in whisper wav2vec2 make_torch_files; do \
	  $(BIN)/python -m tests.parity.$$maker; done

clean:
	rm -rf $(VENV) *.egg-info build dist

# make run: render the examples. make test: the tests. make check: the linters.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: run test check format clean python3-venv

run: $(INSTALLED)
	mkdir -p inbox/examples
	cp examples/*.txt examples/*.yaml inbox/examples/
	$(BIN)/reeldrop run --drain
	$(BIN)/reeldrop history --limit 100

test: $(INSTALLED)
	$(BIN)/pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reeldrop needs Python 3.11")'
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Debian keeps what a virtual environment needs in a package of its own.
python3-venv:
	@test "$$(id -u)" = 0 || { echo "please install the package python3-venv" >&2; exit 1; }
	apt-get update && apt-get install --yes python3-venv

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache

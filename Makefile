# make run: render the examples. make test: the tests. make check: the linters.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Programs, each with the Debian package that has it.
TOOLS := mount:mount findmnt:util-linux mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs strace:strace
NEEDS = $(MAKE) --no-print-directory packages PACKAGES=

.PHONY: run test check format clean tools packages

run: $(INSTALLED)
	mkdir -p inbox/examples
	cp examples/*.txt examples/*.yaml inbox/examples/
	$(BIN)/reeldrop run --drain
	$(BIN)/reeldrop history --limit 100

test: tools $(INSTALLED)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reeldrop needs Python 3.11")'
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(NEEDS)python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The tests mount file systems that they make.
tools:
	@export PATH="$$PATH:/usr/sbin:/sbin" missing=""; \
	for tool in $(TOOLS); do \
		command -v "$${tool%:*}" >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	$(PYTHON) -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("fuse"))' \
		|| missing="$$missing libfuse2"; \
	test -z "$$missing" || $(NEEDS)"$$missing"

packages:
	@test "$$(id -u)" = 0 || { echo "please install, as root: $(PACKAGES)" >&2; exit 1; }
	apt-get update
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(PACKAGES)

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache

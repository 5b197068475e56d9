# SPDX-License-Identifier: Apache-2.0
# The one task runner. It names commands; what they do stands in the commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PIP := $(BIN)/pip --quiet --disable-pip-version-check
WHEEL := build/wheel

# What the wheel is made of: what git knows or would know, less what was just deleted.
PARTS := pyproject.toml CMakeLists.txt README.md LICENSE LICENSES \
	bpf ebpf_collector ebpf_runtime generated templates tools/ebpf_codegen
SOURCES := $(wildcard $(shell git ls-files --cached --others --exclude-standard -- $(PARTS) \
	2>/dev/null || find $(PARTS) -type f))

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test lint regen bench vm wheel docs clean packages

help:
	@echo 'make run     from a fresh clone to a reading: install what is missing, build, run the demo'
	@echo 'make test    everything this machine can check: lint, generated code, tests'
	@echo 'make lint    formatting, types and style of Python and C'
	@echo 'make regen   compile the probes and write generated/ anew'
	@echo 'make bench   the benchmarks'
	@echo 'make vm      the kernel tests on other kernels; KERNEL=6.1 for one'
	@echo 'make wheel   sdist and wheel for a release, into dist/'
	@echo 'make docs    reference pages from the docstrings, into build/docs/'
	@echo 'make clean   remove what make made'

run: $(VENV)/.wheel
	$(SUDO) $(BIN)/ebpf-collector demo

# The tests see the installed wheel and not the checkout (PYTHONSAFEPATH), and leave no files of root
# behind that the checkout's owner could not replace.
test: lint $(VENV)/.wheel $(VENV)/.test-packages
	@echo '==> comparing generated/ with the sources'
	$(BIN)/python tools/regen --check
	@echo '==> running the tests'
	$(SUDO) env PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=$$(mktemp -d) \
		$(BIN)/pytest -p no:cacheprovider --require-kernel

lint: $(VENV)/.tools
	@echo '==> checking style and types'
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(wildcard bpf/*.[ch] bpf/include/*.[ch])
	$(BIN)/codespell

regen: $(VENV)/.tools
	$(BIN)/python tools/regen

bench: $(VENV)/.wheel $(VENV)/.tools
	$(SUDO) $(BIN)/python benchmarks/run.py

vm: $(VENV)/.wheel $(VENV)/.tools
	$(SUDO) $(BIN)/python -B $(BIN)/pytest -p no:cacheprovider -m vm $(KERNEL:%=--kernel=%) tests/vm

wheel: $(VENV)/.tools
	$(BIN)/python -m build --no-isolation --outdir dist

docs: $(VENV)/.wheel
	mkdir -p build/docs
	cd build/docs && ../../$(BIN)/python -m pydoc -w ebpf_runtime ebpf_probes.oom_kill

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# The distribution's packages: those `make run` needs, and those that only some tests use.
packages:
	@PYTHON=$(PYTHON) tools/setup-packages run

$(VENV)/.test-packages: tools/setup-packages | $(BIN)/python
	@tools/setup-packages test
	@touch $@

$(BIN)/python: | packages
	@echo '==> making the virtual environment $(VENV)'
	@$(PYTHON) -m venv $(VENV)

# Build and test tools; once they are there, nothing below needs a network.
$(VENV)/.tools: pyproject.toml tools/requirements | $(BIN)/python
	@echo '==> installing the build and test tools'
	@$(BIN)/python tools/requirements >$(VENV)/requirements.txt
	@$(PIP) install --requirement $(VENV)/requirements.txt
	@touch $@

# With the tools installed the wheel is built from them; else pip fetches what the build asks for.
$(VENV)/.wheel: $(SOURCES) | $(BIN)/python
	@echo '==> building the wheel'
	@rm -rf $(WHEEL)
	@$(PIP) wheel --no-deps --wheel-dir $(WHEEL) \
		$(shell test -e $(VENV)/.tools && echo --no-build-isolation --no-index) .
	@echo '==> installing the wheel'
	@$(PIP) install --no-deps --force-reinstall $(WHEEL)/*.whl
	@$(PIP) install $(WHEEL)/*.whl
	@touch $@

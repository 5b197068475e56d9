# SPDX-License-Identifier: Apache-2.0
# The one task runner. It names commands; what they do stands in the commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PIP := $(BIN)/pip --quiet --disable-pip-version-check
WHEEL := build/wheel
DEPS := build/deps
# What `make wheel` builds libbpf for: this machine, or as in make wheel ARCHITECTURES='x86_64 aarch64'.
ARCHITECTURES := $(shell uname -m)

# What the wheel is made of: what git knows or would know, less what was just deleted.
PARTS := pyproject.toml CMakeLists.txt README.md LICENSE LICENSES \
	bpf ebpf_collector ebpf_runtime generated templates tools/ebpf_codegen
SOURCES := $(wildcard $(shell git ls-files --cached --others --exclude-standard -- $(PARTS) \
	2>/dev/null || find $(PARTS) -type f))

# Seconds for each target of `make fuzz`.
SECONDS := 60
FUZZ := build/fuzz/venv

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test lint regen bench vm corpus fuzz deps wheel bare-root docs clean packages

help:
	@echo 'make run     from a fresh clone to a reading: install what is missing, build, run the demo'
	@echo 'make test    everything this machine can check: lint, generated code, tests'
	@echo 'make lint    formatting, types and style of Python and C'
	@echo 'make regen   compile the probes and write generated/ anew'
	@echo 'make bench   the benchmarks'
	@echo 'make vm      the kernel tests on other kernels; KERNEL=6.1 for one, ARCH=arm64 for that architecture'
	@echo 'make corpus  objects of Debian packages: generate, import, type-check, compare layouts with bpftool'
	@echo 'make fuzz    look for inputs that the readers of objects stumble over; SECONDS=600 for each target'
	@echo 'make deps    the sources of libbpf for a wheel that brings its own, into build/deps/'
	@echo 'make wheel   sdist and wheels for a release, with and without libbpf, into dist/'
	@echo 'make docs    reference pages from the docstrings, into build/docs/'
	@echo 'make clean   remove what make made'

run: $(VENV)/.wheel
	$(SUDO) $(BIN)/ebpf-collector demo

# The tests see the installed wheel and not the checkout (PYTHONSAFEPATH), and leave no files of root
# behind that the checkout's owner could not replace.
test: lint $(VENV)/.wheel $(VENV)/.test-packages
	@$(BIN)/python tools/fetch-sources $(DEPS) || \
		echo '==> no sources of libbpf: the tests of a wheel with libbpf will be skipped'
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
	$(BIN)/clang-format --dry-run -Werror $(wildcard bpf/*.[ch] bpf/include/*.[ch] bpf/include/*/*.[ch])
	$(BIN)/codespell

regen: $(VENV)/.tools
	$(BIN)/python tools/regen

bench: $(VENV)/.wheel $(VENV)/.tools
	$(SUDO) $(BIN)/python benchmarks/run.py --write

vm: $(VENV)/.wheel $(VENV)/.tools
	$(SUDO) $(BIN)/python -B $(BIN)/pytest -p no:cacheprovider -m vm $(KERNEL:%=--kernel=%) $(ARCH:%=--architecture=%) tests/vm

# With the network: objects of the distribution's packages, which are never part of the repository.
corpus: $(VENV)/.wheel $(VENV)/.tools
	$(BIN)/python tools/fetch-corpus build/corpus
	$(BIN)/pytest -p no:cacheprovider -m corpus tests/corpus

# Coverage-guided where the package atheris can be had; it has an environment of its own.
fuzz: | $(BIN)/python
	@test -x $(FUZZ)/bin/python || $(PYTHON) -m venv $(FUZZ)
	@$(FUZZ)/bin/pip install --quiet --disable-pip-version-check jinja2 pyelftools
	@$(FUZZ)/bin/pip install --quiet --disable-pip-version-check atheris || true
	$(FUZZ)/bin/python tests/fuzz/fuzz.py --seconds $(SECONDS)

deps: | $(BIN)/python
	$(BIN)/python tools/fetch-sources $(DEPS)

# The sdist, the wheel without libbpf from it, and one with libbpf for each architecture.
wheel: $(VENV)/.tools deps
	$(BIN)/python -m build --no-isolation --outdir dist \
		-Ccmake.define.EBPF_LIBBPF_HEADERS=$(abspath $(DEPS))/include
	$(foreach architecture,$(ARCHITECTURES),$(BIN)/python -m build --wheel --no-isolation --outdir dist \
		-Ccmake.define.EBPF_LIBBPF_SOURCE=$(abspath $(DEPS)) \
		-Ccmake.define.EBPF_LIBBPF_ARCHITECTURE=$(architecture) &&) true

# By hand, and with the network: a Debian with nothing but Python has to run the wheel.
bare-root: wheel
	$(SUDO) $(BIN)/python tests/packaging/bare_root.py "$$(ls -t dist/*manylinux*_$$(uname -m).whl | head -n 1)"

docs: $(VENV)/.wheel
	mkdir -p build/docs
	cd build/docs && ../../$(BIN)/python -m pydoc -w ebpf_runtime ebpf_probes.oom_kill ebpf_probes.tcp_queue_length

clean:
	test ! -e build/bare-root || $(SUDO) rm -rf build/bare-root
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

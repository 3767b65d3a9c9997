# Each target sets up what it needs. PYTHON names the interpreter (3.11 or newer) to set up with.
PYTHON ?= python3
BIN := .venv/bin
SOURCE := _build/source
# The book has a local AWS of its own: yours, if one runs, is left alone.
# It runs snapshots, also where Docker is: make book BYOC_ENGINE=docker builds and runs images.
ALONE := BYOC_HOME="$(CURDIR)/_build/byoc" BYOC_ENGINE="$${BYOC_ENGINE:-process}"
# A new one: the code may have changed since. A container that will never answer is waited for
# twice as long on other occasions.
UP := $(ALONE) $(BIN)/byoc down >/dev/null 2>&1; $(ALONE) $(BIN)/byoc up --option startup_timeout=8 >/dev/null

.PHONY: book test bench measured lab notebooks lint lock setup clean

## book: execute every notebook on the local AWS and render the pages
book: setup
	@rm -rf $(SOURCE) _build/html
	@mkdir -p $(SOURCE)
	@cp -R _config.yml _toc.yml book container bench infra .github $(SOURCE)/
	$(UP)
	$(ALONE) $(BIN)/byoc run --output $(SOURCE)/notebooks >/dev/null
	@$(BIN)/python -m byoc.notebooks $(SOURCE)/notebooks/*.ipynb
	$(BIN)/jupyter-book build $(SOURCE) --path-output . -W -n --keep-going --quiet
	@echo "The book is ready: open $(CURDIR)/_build/html/index.html"

## test: run every test, on each processor's own local AWS
test: setup
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

## bench: every figure of the Performance page, beside what one would otherwise use (QUICK=1: some)
BENCHES := local_aws image serving rungs curves training book
bench: setup
	@rm -rf _build/bench && mkdir -p _build/bench
	-@for bench in $(BENCHES); do echo "\n== $$bench"; \
		$(BIN)/python bench/$$bench.py $(if $(QUICK),--quick) --json _build/bench/$$bench.json; done
	@$(BIN)/python bench/report.py _build/bench

## measured: keep the last whole bench as the one that the book shows
measured: setup
	cp $(BENCHES:%=_build/bench/%.json) book/measured/
	$(BIN)/python bench/figures.py book/measured book/figures

## lab: JupyterLab on the notebooks, with your local AWS up
lab: setup
	$(BIN)/byoc up
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

## notebooks: execute the notebooks and keep their outputs, for a commit
notebooks: setup
	$(UP)
	$(ALONE) $(BIN)/byoc run --output _build/notebooks >/dev/null
	$(BIN)/python -m byoc.notebooks _build/notebooks/*.ipynb
	cp _build/notebooks/*.ipynb notebooks/

## lint: what the tests also check
lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

## lock: write every list of pinned packages anew from pyproject.toml (needs the network)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate
lock: setup
	$(LOCK) --all-extras pyproject.toml -o requirements.txt
	$(LOCK) --group container -o container/requirements.txt
	$(LOCK) --group awscli -o tests/clients/awscli.txt
	$(LOCK) --group sdk-v2 -o tests/clients/sdk_v2.txt
	@# without ModelBuilder's packages, which need torch (6 GB), and without MLflow
	printf 'sagemaker-serve\nsagemaker-mlops\nmlflow\nsagemaker-mlflow\n' | \
		$(LOCK) --group sdk-v3-studio --excludes - -o tests/clients/sdk_v3_studio.txt
	$(LOCK) --group training-toolkit -o tests/foreign/training_toolkit/requirements.txt
	$(LOCK) --group inference-toolkit -o tests/foreign/inference_toolkit/requirements.txt

## setup: the environment of the book in .venv, and the container's own in the cache
setup: .venv/.complete
	@$(BIN)/python -m byoc.engines.environment container/requirements.txt

.venv/.complete: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"byoc needs Python 3.11 or newer: run make PYTHON=/path/to/python3.12")'
	$(PYTHON) -m venv --clear .venv
	@sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^ /p;}' requirements.txt > .venv/uv.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode \
		-r requirements.txt
	@# It checks two formats that no JSON schema here has, and makes each program that imports nbformat
	@# start two seconds later.
	@$(BIN)/uv pip uninstall --quiet --python $(BIN)/python rfc3987-syntax
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

## clean: remove what the other targets made
clean:
	-test ! -x $(BIN)/byoc || { $(BIN)/byoc down; $(ALONE) $(BIN)/byoc down; } 2>/dev/null
	rm -rf .venv _build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

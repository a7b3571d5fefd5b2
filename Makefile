# Two commands on a fresh machine: `make demo` and `make test`. Each makes the environment (.venv), builds and installs
# what is missing or older than its sources, and runs. ICD_MXNET chooses the MXNet wheel (see README), PYTHON the Python;
# another choice makes the environment anew, because two MXNet wheels cannot live in one.

ICD_MXNET ?= mxnet
VENV ?= .venv
# The first Python from 3.8 to 3.12 that there is, unless PYTHON names one.
PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.10 python3.9 python3.8,\
            $(shell $(p) -c 'import sys; (3, 8) <= sys.version_info[:2] <= (3, 12) and print("$(p)")' 2>/dev/null)))

BIN := $(VENV)/bin
VERSION := $(if $(PYTHON),$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
MADE := $(VENV)/made-for-$(ICD_MXNET)-python$(VERSION)
SOURCES := setup.py pyproject.toml CMakeLists.txt icd/wheels.py $(shell find csrc external -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt)

.PHONY: help demo test lint docs sanitize portable clean

help:
	@echo "make demo   install, then run the main job on the embedded data set"
	@echo "make test   install, then run the tests (ARGS='-m \"not slow\"' and the like are passed to pytest)"
	@echo "make lint   check style and format"
	@echo "make docs   build the documentation site, build/docs/index.html; a warning is an error"
	@echo "make sanitize  run the kernels' tests on a build that checks memory accesses and arithmetic"
	@echo "make portable  compile the kernels with Clang for x86-64 and arm64 (needs ziglang in the environment)"
	@echo "make clean  remove the environment and what was built"

demo: $(VENV)/installed
	$(BIN)/python run_icd.py --resume

test: $(VENV)/installed-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations 25 $(ARGS)

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(VENV)/installed-for-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "build/docs/index.html"

sanitize: $(VENV)/installed-for-tests
	PYTHON=$(CURDIR)/$(BIN)/python tests/sanitize.sh $(ARGS)

portable: $(MADE)
	PYTHON=$(CURDIR)/$(BIN)/python tests/portable.sh

$(MADE):
	@case "$(VERSION)" in 3.8|3.9|3.10|3.11|3.12) ;; *) \
	    echo "Python 3.8 to 3.12 is needed; found: $(or $(VERSION),none). Name one: make demo PYTHON=/path/to/python3.11"; exit 1;; esac
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make an environment. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(VENV)/installed: $(MADE) $(SOURCES)
	ICD_MXNET=$(ICD_MXNET) $(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/installed-for-tests: $(MADE) $(SOURCES)
	ICD_MXNET=$(ICD_MXNET) $(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-for-docs: $(MADE) $(SOURCES)
	ICD_MXNET=$(ICD_MXNET) $(BIN)/python -m pip install --quiet -e '.[docs]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build icd.egg-info icd/_native*.so

# Every target sets up what it needs by itself, in ${XDG_CACHE_HOME:-~/.cache}/lastgood. tools/environment.py says how.
PYTHON ?= python3.11
ENVIRONMENT := $(PYTHON) tools/environment.py
DEV := $(ENVIRONMENT) exec --
DEV_AND_TF := $(ENVIRONMENT) exec --tf --
DEV_AND_EACH_TF := $(ENVIRONMENT) exec --tf-all --

.PHONY: help demo check test test-full bench proto lock clean-cache
.DEFAULT_GOAL := help

help:
	@echo 'make demo                 a real TensorFlow job loses workers and a checkpoint, and ends with the right weights (ARGS=…)'
	@echo 'make check                the fast loop: style, types, imports, protos, unit tests'
	@echo 'make test                 everything: check, integration and end-to-end tests, with the demo'
	@echo 'make test-full [PART=…]   the long runs (core, hooks, library, loop, damage, fuzz); writes docs/test-report.md'
	@echo 'make bench [ARGS=…]       measures what lastgood costs and how fast it recovers; writes docs/benchmarks.md'
	@echo 'make proto                generated code from protos/'
	@echo 'make lock [ARGS=--upgrade]  lock files from pyproject.toml and requirements/*.in'
	@echo 'make clean-cache          removes the environments of all clones'

demo:
	@$(DEV_AND_TF) sh -c 'exec python demo/run.py --python "$$LASTGOOD_TEST_TF_PYTHON" "$$@"' demo $(ARGS)

check:
	@$(DEV) python tools/suite.py check

test:
	@$(DEV_AND_EACH_TF) python tools/suite.py test

test-full:
	@$(DEV_AND_EACH_TF) python tools/suite.py full $(if $(PART),--part $(PART))

bench:
	@$(DEV_AND_TF) python -m benchmarks.report $(ARGS)

proto:
	@$(DEV) python tools/protos.py write

lock:
	@$(ENVIRONMENT) lock $(ARGS)

clean-cache:
	@$(ENVIRONMENT) clean

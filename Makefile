# A front for scripts/: each target may be run again at any time and is quick when nothing changed.
.DEFAULT_GOAL := build
.PHONY: demo test build bench lint clean help

demo: ## install what is missing, build, train on real digits, show what was kept
	@scripts/demo.sh

test: ## install what the tests need, build, and run all of them
	@scripts/test.sh

build: ## .venv with the package ml_dash and the command .venv/bin/ml-dash
	@scripts/build.sh

bench: ## measure beside the peers; JSON in build/bench
	@scripts/bench.sh

lint: ## formatting, static analysis, types, style budget
	@scripts/lint.sh

clean: ## remove all that was built (not what was installed with apt)
	rm -rf build .venv

help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

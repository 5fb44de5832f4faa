# make setup   install what is missing, build        make demo   Chromium on the QEMU device, once, for real
# make test    setup, lint and every test            make lint   formatters, type checker, C warnings, clang-tidy
# make sizes   the C client on four processors       make firmware   the QEMU device's, again
# make fuzz    the C client on damaged input         make prove      cbmc on its parsers and decoders
# make schema  the control API, called with thousands of what its description allows, and what it does not
# make cycles  500 sessions, one after the other, and what is left of them
# make soak    the QEMU device for long: 20,000 updates, 500 reconnects
# Every target may be run again; ARGS goes to pytest: make test-server ARGS='-k shadow -x'

SHELL = /bin/bash
PYTEST = .venv/bin/python -m pytest
.DEFAULT_GOAL = help
.PHONY: help setup demo test test-protocol test-server test-clients test-simulator test-firmware test-house lint format lock bench sizes firmware soak fuzz prove schema cycles clean

help:
	@sed -n 's/^# //p' Makefile | head -n 8

setup:
	@tools/setup.sh

demo: setup
	@.venv/bin/python -m tools.demo

# One pytest run over all folders, so that its closing line counts everything; each file runs on one processor. Lint's
# verdict does not hide it.
test: setup
	@tools/lint.sh; lint=$$?; \
	$(PYTEST) -n auto --maxprocesses 4 --dist loadfile $(ARGS); tests=$$?; \
	if [ $$lint -ne 0 ]; then echo "lint failed, see above"; fi; \
	exit $$(( lint ? lint : tests ))

test-protocol test-server test-clients test-simulator test-firmware test-house: test-%: setup
	@$(PYTEST) tests/$* $(ARGS)

lint: setup
	@tools/lint.sh

format: setup
	@tools/lint.sh --fix

lock:
	@tools/lock.sh

bench: setup
	@tools/setup.sh bench
	@.venv/bin/python -m bench $(ARGS)

sizes: setup
	@.venv/bin/python -m tools.sizes

firmware: setup
	@tools/firmware.sh $(ARGS)

soak: setup
	@.venv/bin/python -m tools.soak $(ARGS)

fuzz: setup
	@.venv/bin/python -m tools.fuzz $(ARGS)

# Another seed each time; TILEWIRE_SCHEMA_SEED=N for the same again.
cycles: setup
	@.venv/bin/python -m bench serve --cycles 500
	@.venv/bin/python -m tests.server.floor_counts 500

schema: setup
	@TILEWIRE_SCHEMA_EXAMPLES=$${TILEWIRE_SCHEMA_EXAMPLES:-200} TILEWIRE_SCHEMA_SEED=$${TILEWIRE_SCHEMA_SEED:-$$RANDOM} \
	$(PYTEST) tests/server/test_control_schema.py -k schemathesis -v $(ARGS)

prove: setup
	@.venv/bin/python -m tools.prove $(ARGS)

clean:
	rm -rf .venv build demo bench/out dist .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

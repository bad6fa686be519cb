# Two commands on a fresh machine: `make demo` and `make test`. Both do all set-up first; it is kept, so the next time is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := bench/build/peers
CODEX := tools/codex/node_modules/.bin/codex

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test setup lint bench lock clean
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' Makefile

demo: setup  ## The main job: the real Codex, walled in, on the embedded fake model
	@$(BIN)/python -m immure.testing.demo --codex $(CODEX)

test: setup lint  ## Every test, those with the real Codex included
	$(BIN)/pytest

lint: setup  ## Style, types, and the order of the rooms
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

bench: setup $(PEERS)/.ready  ## Measure against peers; see bench/README.md
	$(BIN)/python bench/wall.py
	$(BIN)/python bench/files.py
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/many.py
	$(BIN)/python bench/connect.py
	$(BIN)/python bench/gate.py --mitmdump $(PEERS)/bin/mitmdump
	$(BIN)/python bench/restore.py
	$(BIN)/python bench/refresh.py

$(PEERS)/.ready: requirements/bench.txt
	@tools/setup python "$(PYTHON)" $(PEERS)
	@$(PEERS)/bin/pip install --quiet --require-hashes -r requirements/bench.txt
	@touch $@

setup: $(VENV)/.ready $(CODEX) bubblewrap  ## All that the others need; kept, so the next time is quick

$(VENV)/.ready: requirements/dev.txt pyproject.toml bin/immure
	@tools/setup python "$(PYTHON)" $(VENV)
	@$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(CODEX): tools/codex/package-lock.json
	@tools/setup node
	@npm ci --prefix tools/codex --no-audit --no-fund --loglevel error
	@touch $@

.PHONY: bubblewrap
bubblewrap:
	@tools/setup bubblewrap

lock:  ## Renew the locked requirements (needs uv)
	@for set in runtime dev bench; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
			--output-file requirements/$$set.txt requirements/$$set.in; done

clean:  ## Remove all that set-up and tests have made
	rm -rf $(VENV) bench/build tools/codex/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

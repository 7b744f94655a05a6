# One door to the project. It makes its own environment in .venv and needs nothing but make, Python 3.11 and the network.

PYTHON ?= python3
BIN    := .venv/bin

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore

.DEFAULT_GOAL := help
.PHONY: help demo test sim-long check format bench clean system openstack-up openstack-down openstack-status test-openstack openstack-long kills bench-openstack

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/jetrun.made ## the whole job on the embedded cloud, no account needed: wake, send, run, fetch, mail, shelve, prove
	@$(BIN)/jetrun demo

test: .venv/tools.made ## every test, end to end included; ARGS="-k name" for some
	@.ci/packages test
	@.ci/test $(ARGS)

check: .venv/tools.made ## ruff and mypy --strict
	@failed=0; for tool in "ruff check ." "ruff format --check ." mypy; do \
	  echo "$$tool"; $(BIN)/$$tool || failed=1; done; exit $$failed

format: .venv/tools.made ## let ruff format the code
	$(BIN)/ruff format .

sim-long: .venv/tools.made ## a million schedules of failure in virtual time (an hour and a half on two processors); SEED=7 for others
	JETRUN_SCHEDULES=1000000 JETRUN_SEED=$(or $(SEED),1) $(BIN)/python -m pytest -q -n auto tests/sim/test_schedules.py

bench: .venv/tools.made ## speed and memory, measured here beside a careful bash script; ARGS="null --rounds 5" for some
	@.ci/packages test
	@$(BIN)/python benchmarks/bench.py $(ARGS)

openstack-up: .venv/tools.made ## a real OpenStack in namespaces of its own (root, Debian 12; a few minutes the first time)
	@tests/openstack/up

openstack-down: ## end it; ARGS=--purge forgets its databases too
	@tests/openstack/up down $(ARGS)

openstack-status: ## what of it runs
	@tests/openstack/up status

test-openstack: openstack-up ## the tests that need it: contract, whole jobs on virtual machines, faults; ARGS="-k name" for some
	@.ci/test-openstack $(ARGS)

openstack-long: openstack-up ## twenty processes killed at moments drawn by lot, on virtual machines (half an hour); SEED=7 for others
	@JETRUN_REAL_KILLS=20 JETRUN_SEED=$(or $(SEED),1) .ci/test-openstack -k whoever_is_killed

kills: .venv/tools.made ## two hundred processes killed at random on the embedded cloud, and the table of who ended what; SEED=7 for others
	@$(BIN)/python tests/e2e/kills.py --kills 200 --seed $(or $(SEED),1)

bench-openstack: openstack-up ## what jetrun itself costs there, beside a careful script; ARGS="--rounds 3"
	@tests/openstack/enter $(BIN)/python benchmarks/real.py $(ARGS)

clean: ## remove the environment and what tools leave behind
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

system:
	@PYTHON="$(PYTHON)" .ci/packages demo

# The environment, with what jetrun and its embedded cloud need; a .venv of another machine or folder is made anew.
.venv/jetrun.made: pyproject.toml | system
	@$(BIN)/python -c 'import sys; sys.exit(sys.prefix != "$(CURDIR)/.venv")' 2>/dev/null || \
	  { echo "making .venv (once; about a minute)"; rm -rf .venv; "$(PYTHON)" -m venv .venv; }
	@$(BIN)/python -m pip install --quiet --editable '.[devcloud]'
	@touch $@

# What tests and checks need besides; pip 23 knows no --group.
.venv/tools.made: .venv/jetrun.made
	@$(BIN)/python -c 'import tomllib; groups = tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]; \
	  print(*groups["test"], *groups["check"], sep="\n")' > .venv/tools.txt
	@echo "adding the tools for tests and checks"
	@$(BIN)/python -m pip install --quiet --requirement .venv/tools.txt
	@touch $@

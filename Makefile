# Each target works alone on a fresh clone with nothing but make and Python >= 3.11 (`make PYTHON=/path/to/python ...`
# chooses one). The first run makes .venv and installs into it; later runs install again only when the project's
# metadata changed.

VENV := .venv
RUN := $(VENV)/bin/python
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3)
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60 --use-pep517 --editable
METADATA := pyproject.toml setup.cfg
# The tests start hundreds of processes: where PYTHONDONTWRITEBYTECODE is set, each would compile rsm for itself.
COMPILE = $(RUN) -m compileall -q -o 0 -o 1 rsm demos
# Two workers; the tests of a group share one, and groups come in the order of tests/conftest.py.
TESTS = $(RUN) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

.PHONY: help demo upgrade-demo game exchange test soak bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed ## Run the order book on three nodes: its leader killed, a follower emptied, nothing lost
	@$(RUN) -m demos.orderbook show

upgrade-demo: $(VENV)/installed ## Take an exchange of three nodes from version 1 to 3 under load; an unsafe release is found
	@$(RUN) -m demos.orderbook upgrade

game: $(VENV)/installed-demos ## Play the lockstep game against three bots, in the browser, on three nodes
	@$(RUN) -m demos.rts_lockstep host --nodes 3 --bots 3

exchange: $(VENV)/installed-demos ## Run the exchange with its public face: a page, ITCH 5.0, Kraken's book messages
	@$(RUN) -m demos.orderbook exchange --nodes 3

test: $(VENV)/installed-dev ## Lint, check types, run the tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy --strict rsm demos
	$(COMPILE)
	$(TESTS)

soak: $(VENV)/installed-dev ## Run the tests with many more, and fresh, random examples
	$(COMPILE)
	$(TESTS) --hypothesis-profile=soak

bench: $(VENV)/installed ## Run every benchmark in full; each prints one JSON document
	@set -e; for program in benchmarks/[a-z]*.py; do echo "$$program" >&2; $(RUN) "$$program" --json; done

clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A name on the path may be a shim for a version that is not installed, or lack the venv module (Debian without
# python3-venv): only running it tells.
$(VENV)/bin/python:
	@found=; bare=; \
	for name in $(CANDIDATES); do \
		"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		if "$$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then found="$$name"; break; fi; \
		bare="$$name"; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
		echo "$$bare cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)." >&2; \
		exit 1; \
	elif [ -z "$$found" ]; then \
		echo "rsm needs Python 3.11 or newer; none of these runs as one: $(CANDIDATES)." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$found ($$("$$found" --version))." >&2; \
	"$$found" -m venv --clear $(VENV)

$(VENV)/installed: $(RUN) $(METADATA)
	@echo "Installing rsm into $(VENV)." >&2
	@$(INSTALL) .
	@touch $@

$(VENV)/installed-demos: $(RUN) $(METADATA)
	@echo "Installing rsm and what its demos show themselves with into $(VENV)." >&2
	@$(INSTALL) '.[demos]'
	@touch $(VENV)/installed $@

$(VENV)/installed-dev: $(RUN) $(METADATA)
	@echo "Installing rsm and its development tools into $(VENV)." >&2
	@$(INSTALL) '.[dev]'
	@touch $(VENV)/installed $(VENV)/installed-demos $@

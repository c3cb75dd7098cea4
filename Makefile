# What the README names; each target makes the checkout ready by itself.

bin = .venv/bin
# Two at a time, each file's tests together: real servers are started once for a file.
workers = -n 2 --dist loadfile

.PHONY: help setup demo lab test bench static check roots lock

help:
	@echo "make demo    the whole runbook on the practice world, reports in runs/demo/"
	@echo "make lab     the practice world, and JupyterLab on the notebooks"
	@echo "make test    all tests, real database servers included"
	@echo "make bench   how fast and how bounded it is, on this machine"
	@echo "make check   format, lint, types, import floors, tests"

setup:
	@tools/setup.sh quick

demo: setup
	@$(bin)/python -m rdsca_helpers demo

lab: setup
	@$(bin)/python -m rdsca_helpers lab start && \
	trap '$(bin)/python -m rdsca_helpers lab stop' EXIT && trap 'exit 130' INT TERM && \
	eval "$$($(bin)/python -m rdsca_helpers lab env)" && \
	$(bin)/jupyter lab $$([ "$$(id -u)" = 0 ] && echo --allow-root) notebooks

test: setup
	$(bin)/pytest $(workers)

bench: setup
	$(bin)/python tests/bench

static: setup
	$(bin)/ruff format --check rdsca_helpers tests notebooks
	$(bin)/ruff check rdsca_helpers tests notebooks
	$(bin)/mypy
	$(bin)/lint-imports

check: static
	$(bin)/pytest $(workers)

# The catalogue of RDS's roots, from AWS or else from PyPI.
roots: setup
	@$(bin)/python -m rdsca_helpers roots refresh --into rdsca_helpers/catalogue.json

# Newest versions of everything; needs uv.
lock:
	uv pip compile -q -U --universal --python-version 3.11 --generate-hashes --extra dev -o requirements.lock pyproject.toml requirements-build.in
	uv pip compile -q -U --universal --python-version 3.11 --generate-hashes -o requirements-postgres.lock requirements-postgres.in

#!/usr/bin/env bash
# Sets up .venv, checks style and types and runs the tests, two files at a time; arguments go to pytest (-m "not slow" for
# the fast ones). What takes longest comes first (tests/conftest.py). The quickstart, whole, is left out unless asked for: -m quickstart.
source "$(dirname "$0")/setup.sh"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check --quiet . || { echo "error: run '$venv/bin/ruff format .'" >&2; exit 1; }
"$venv/bin/mypy" --no-error-summary
exec "$venv/bin/python" -m pytest -m "not quickstart" -n 2 --dist loadfile --no-loadscope-reorder "$@"

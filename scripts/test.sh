#!/usr/bin/env bash
# Sets up .venv, checks the style and runs the tests; arguments go to pytest (-m "not slow" for the fast ones).
source "$(dirname "$0")/setup.sh"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check --quiet . || { echo "error: run '$venv/bin/ruff format .'" >&2; exit 1; }
exec "$venv/bin/python" -m pytest "$@"

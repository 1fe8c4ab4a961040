#!/usr/bin/env bash
# Sets up .venv and runs the whole flow on the embedded world; arguments go to `revision quickstart`.
source "$(dirname "$0")/setup.sh"
exec "$venv"/bin/revision quickstart "$@"

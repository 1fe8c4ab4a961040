#!/usr/bin/env bash
# Makes or reuses .venv-swift: ms-swift with the set that is tested, and this checkout. PYTHON=python3.12 chooses an interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=.venv-swift requirements=scripts/ms_swift/requirements.txt
stamp=$(sha256sum < "$requirements" | cut -d" " -f1)
[ "$(cat "$venv/.stamp" 2>/dev/null || true)" != "$stamp" ] || exit 0
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || { echo "error: $python is no Python 3.11 or later; give PYTHON=" >&2; exit 2; }
echo "setting up $venv (several GB, a few minutes)" >&2
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
install=("$venv/bin/uv" pip install --quiet --compile-bytecode --no-deps --python "$venv/bin/python")
"${install[@]}" -r "$requirements"
"${install[@]}" -e .
echo "$stamp" > "$venv/.stamp"

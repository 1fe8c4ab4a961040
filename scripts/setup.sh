# Makes or reuses .venv with the tested set; sourced by quickstart.sh and test.sh. With TRANSFORMERS=VERSION, .venv-VERSION with that one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv${TRANSFORMERS:+-$TRANSFORMERS}
constraints=constraints-py311-transformers4.57.txt  # the tested set, whole
stamp=$(cat "$constraints" setup.py | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
    python=$(command -v python3.11 || command -v python3)
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
        { echo "error: Python 3.11 is needed, $("$python" --version) was found" >&2; exit 2; }
    echo "setting up $venv (several GB, a few minutes)" >&2
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    # bytecode is made here once: where Python may not write it, as in many images, each process would take 10 s longer to start
    install=("$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python")
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
    "${install[@]}" --no-deps -r "$constraints"
    [ -z "${TRANSFORMERS:-}" ] || "${install[@]}" "transformers==$TRANSFORMERS"
    "${install[@]}" --no-deps -e .
    echo "$stamp" > "$venv/.stamp"
fi

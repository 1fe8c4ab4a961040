# Makes or reuses .venv with the tested set; sourced by quickstart.sh and test.sh. With TRANSFORMERS=VERSION, .venv-VERSION with
# that one: 4.57.* in the classic set, others in today's. PYTHON=python3.13 chooses an interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ ${TRANSFORMERS:-0} =~ ^[0-9][0-9A-Za-z.]*$ ]] || { printf 'error: TRANSFORMERS=%q; a version is needed\n' "$TRANSFORMERS" >&2; exit 2; }
venv=.venv${TRANSFORMERS:+-$TRANSFORMERS}
# programs of an environment name the place where it was made: a copied or moved one would run the code there
if [ -f "$venv/bin/activate" ] && ! grep -qF -e "VIRTUAL_ENV=$PWD/$venv" -e "VIRTUAL_ENV='$PWD/$venv'" -e "VIRTUAL_ENV=\"$PWD/$venv\"" "$venv/bin/activate"; then
    echo "$venv was copied or moved from elsewhere: making it again" >&2
    rm -rf "$venv"
fi
case ${TRANSFORMERS:-} in
    4.*) constraints=constraints-transformers4.57.txt ;;
    *) constraints=constraints.txt ;;
esac
stamp=$(cat "$constraints" setup.py | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
    found=""
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        command -v "$python" >/dev/null || continue
        found="$found$("$python" --version 2>&1), "
        ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' 2>/dev/null || break
        python=
    done
    [ -n "${python:-}" ] && command -v "$python" >/dev/null || { echo "error: Python 3.11 or later is needed; there is ${found:-none}" >&2; exit 2; }
    echo "setting up $venv (several GB, a few minutes)" >&2
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    log=$venv/setup.log # what pip and uv print; a failure shows its end
    : > "$log"
    logged() {
        "$@" >> "$log" 2>&1 || { tail -n 20 "$log" >&2; echo "error: $venv could not be set up (whole log in $log)" >&2; exit 1; }
    }
    # bytecode is made here once: where Python may not write it, as in many images, each process would take 10 s longer to start
    install=("$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python")
    logged "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore uv
    logged "${install[@]}" --no-deps -r "$constraints"
    [ -z "${TRANSFORMERS:-}" ] || logged "${install[@]}" "transformers==$TRANSFORMERS"
    logged "${install[@]}" --no-deps -e .
    echo "$stamp" > "$venv/.stamp"
fi

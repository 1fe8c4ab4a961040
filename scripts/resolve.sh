#!/usr/bin/env bash
# Asks a resolver whether everything that setup.py names can be installed together on each Python that is supported, and
# whether both tested sets can: nothing is installed.
source "$(dirname "$0")/setup.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for version in 3.11 3.12 3.13; do
    for set in setup.py constraints.txt constraints-transformers4.57.txt; do
        flags=(--quiet --python-version "$version" --output-file "$scratch/$set")
        if [ "$set" = setup.py ]; then flags+=(--all-extras); else flags+=(--no-deps); fi
        "$venv/bin/uv" pip compile "${flags[@]}" "$set" || { echo "error: $set does not resolve for Python $version" >&2; exit 1; }
        echo "$set resolves for Python $version: $(grep -cE '^[a-zA-Z]' "$scratch/$set") packages," \
            "$(grep -oE '^(torch|transformers|numpy)==[^ ]+' "$scratch/$set" | paste -sd' ')"
    done
done

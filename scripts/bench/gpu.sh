#!/usr/bin/env bash
# Everything that only a GPU can tell, in ten minutes: writes gpu/gpu.json and docs/gpu.md. Arguments go to scripts/bench/gpu.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec "${PYTHON:-python}" -m scripts.bench.gpu "$@"

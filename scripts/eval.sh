#!/usr/bin/env bash
# Scores a checkpoint on the eleven benchmarks, or on those given:
#   bash scripts/eval.sh CHECKPOINT OUT [TASKS] [more flags of `revision evaluate`]
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "error: bash scripts/eval.sh CHECKPOINT OUT [TASKS] [more flags of 'revision evaluate']" >&2
    exit 2
fi
model=$1 out=$2
shift 2
tasks=revision_bench
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    tasks=$1
    shift
fi
exec revision evaluate --model "$model" --tasks "$tasks" --out "$out" "$@"

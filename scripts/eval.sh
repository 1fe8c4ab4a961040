# Scores a checkpoint on the eleven benchmarks, or on those given:
#   bash scripts/eval.sh CHECKPOINT OUT [TASKS] [more flags of `revision evaluate`]
set -euo pipefail
model=$1 out=$2 tasks=${3:-revision_bench}
shift $(( $# < 3 ? $# : 3 ))
revision evaluate --model "$model" --tasks "$tasks" --out "$out" "$@"

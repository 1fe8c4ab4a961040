# Shared by pretrain.sh and finetune.sh: the set-ups of setups.txt, the global batch, and the dry run.
# SETUP=NAME chooses a line of setups.txt (without one: the papers' llama3); MODEL=... any other language model, with the
# prompt of its own tokenizer (VERSION=auto).
if [ -z "${SETUP:-}" ] && [ -n "${MODEL:-}" ]; then
    : "${VERSION:=auto}"
else
    : "${SETUP:=llama3}"
    line=$(awk -v name="$SETUP" '$1 == name && $1 !~ /^#/ {print $2, $4, $5; exit}' "$here/setups.txt")
    if [ -z "$line" ]; then
        echo "error: SETUP=$SETUP: no such line in $here/setups.txt; there are $(awk '!/^#/ {print $1}' "$here/setups.txt" | paste -sd' '); or set MODEL and ENCODER yourself" >&2
        exit 2
    fi
    read -r model version encoder <<<"$line"
    : "${MODEL:=$model}" "${VERSION:=$version}"
    [ "$encoder" = - ] || : "${ENCODER:=$encoder}"
fi
: "${ENCODER:?the encoder spec the store was made with}"
: "${REPORT_TO:=none}" "${GPUS:=8}" "${GLOBAL_BATCH:=256}" "${PRECISION=--bf16 True --tf32 True}" "${LAUNCHER:=deepspeed --num_gpus $GPUS}"

# Numbers are checked before any arithmetic, which would run what stands in brackets.
require_whole() {
    local name
    for name in "$@"; do
        [[ ${!name} =~ ^[1-9][0-9]{0,8}$ ]] || { printf 'error: %s=%q; a whole number of at least 1 is needed\n' "$name" "${!name}" >&2; exit 2; }
    done
}
require_number() {
    [[ ${!1} =~ ^[0-9]*\.?[0-9]+([eE][-+]?[0-9]{1,3})?$ ]] || { printf 'error: %s=%q; a number is needed\n' "$1" "${!1}" >&2; exit 2; }
}

# Steps of one forward pass that make up the global batch, whatever the number of GPUs.
accumulation() {
    local together=$((GPUS * BATCH_PER_GPU))
    if [ $((GLOBAL_BATCH % together)) -ne 0 ]; then
        echo "error: GLOBAL_BATCH=$GLOBAL_BATCH is no multiple of GPUS=$GPUS times BATCH_PER_GPU=$BATCH_PER_GPU; change one of them" >&2
        exit 2
    fi
    echo $((GLOBAL_BATCH / together))
}

# Runs the command, or with DRY_RUN=1 prints it as a shell would take it.
launch() {
    if [ -n "${DRY_RUN:-}" ]; then
        printf '%q ' "$@"
        echo
    else
        exec "$@"
    fi
}

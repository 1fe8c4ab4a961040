# Shared by pretrain.sh and finetune.sh: the set-ups of the papers, the global batch, and the dry run.
# SETUP=llama3: Llama-3-8B-Instruct, for LLM2CLIP features. SETUP=vicuna: Vicuna-7B with CLIP-L.
: "${SETUP:=llama3}"
case $SETUP in
    llama3) : "${MODEL:=meta-llama/Meta-Llama-3-8B-Instruct}" "${VERSION:=llama_3}" ;;
    vicuna) : "${MODEL:=lmsys/vicuna-7b-v1.5}" "${VERSION:=v1}" "${ENCODER:=hf:openai/clip-vit-large-patch14-336}" ;;
    *) echo "error: SETUP=$SETUP; use llama3 or vicuna, or set MODEL, VERSION and ENCODER yourself" >&2; exit 2 ;;
esac
: "${ENCODER:?the encoder spec the store was made with}"
: "${GPUS:=8}" "${GLOBAL_BATCH:=256}" "${PRECISION=--bf16 True --tf32 True}" "${LAUNCHER:=deepspeed --num_gpus $GPUS}"

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

#!/usr/bin/env bash
# Stage 1: LLaVA's pretraining launch with plugin flags. Text only; DATA is a text store made by `revision encode`.
# Every value can be overridden from the environment; more LLaVA flags can follow on the command line. DRY_RUN=1 prints the command.
# For the paired upper bound set DATA to a LLaVA JSON and add --image_folder DIR. For views of texts set DATA to a store of them,
# VIEWS to the images' views (2x2:mask), ALIGNER and PART_ALIGNER to the aligners of wholes and of parts.
set -euo pipefail
here=$(dirname "$0")
source "$here/launch.sh"
: "${DATA:?a text store (or a LLaVA JSON for paired images)}" "${ALIGNER:=}" "${OUT:=checkpoints/revision-pretrain}" "${TOKENS:=1}" "${VIEWS:=1}" "${PART_ALIGNER:=}"
: "${BATCH_PER_GPU:=32}" "${LEARNING_RATE:=5e-4}" "${SAVE_STEPS:=500}" "${DEEPSPEED=$here/zero2.json}"
[ -z "$ALIGNER" ] || set -- --revision_aligner "$ALIGNER" "$@"
[ -z "$PART_ALIGNER" ] || set -- --revision_part_aligner "$PART_ALIGNER" "$@"
[ "$VIEWS" = 1 ] || set -- --revision_views "$VIEWS" "$@"
[ -z "$DEEPSPEED" ] || set -- --deepspeed "$DEEPSPEED" "$@"
require_whole GPUS GLOBAL_BATCH BATCH_PER_GPU TOKENS SAVE_STEPS
require_number LEARNING_RATE
accumulation=$(accumulation)
# shellcheck disable=SC2086
launch $LAUNCHER "$here/train.py" \
    --model_name_or_path "$MODEL" --version plain --data_path "$DATA" \
    --vision_tower revision --revision_encoder "$ENCODER" --revision_tokens "$TOKENS" \
    --mm_projector_type mlp2x_gelu --tune_mm_mlp_adapter True \
    --mm_use_im_start_end False --mm_use_im_patch_token False $PRECISION \
    --output_dir "$OUT" --num_train_epochs 1 --per_device_train_batch_size "$BATCH_PER_GPU" \
    --gradient_accumulation_steps "$accumulation" \
    --evaluation_strategy no --save_strategy steps --save_steps "$SAVE_STEPS" --save_total_limit 1 \
    --learning_rate "$LEARNING_RATE" --weight_decay 0. --warmup_ratio 0.03 --lr_scheduler_type cosine \
    --logging_steps 1 --model_max_length 2048 --gradient_checkpointing True \
    --dataloader_num_workers 4 --lazy_preprocess True --report_to "$REPORT_TO" "$@"

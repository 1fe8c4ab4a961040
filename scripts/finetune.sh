#!/usr/bin/env bash
# Stage 2: LLaVA's finetuning launch with plugin flags, on real images; DATA is a LLaVA instruction JSON.
# Every value can be overridden from the environment; more LLaVA flags can follow on the command line. DRY_RUN=1 prints the command.
# For fully text-only training set DATA to a text store with conversations, ALIGNER to its aligner, IMAGES to nothing.
# VIEWS=2x2:mask sees an image as the whole and its parts. IMAGE_STORE, a store of the images' embeddings (of those views), in place of
# IMAGES keeps the encoder out of the loop.
set -euo pipefail
here=$(dirname "$0")
source "$here/launch.sh"
: "${DATA:?a LLaVA instruction JSON (or a text store with conversations)}" "${IMAGES:=}" "${ALIGNER:=}" "${TOKENS:=1}" "${VIEWS:=1}"
: "${PROJECTOR:=checkpoints/revision-pretrain/mm_projector.bin}" "${OUT:=checkpoints/llava-revision}" "${IMAGE_STORE:=}" "${PART_ALIGNER:=}"
: "${BATCH_PER_GPU:=16}" "${LEARNING_RATE:=1e-5}" "${SAVE_STEPS:=500}" "${DEEPSPEED=$here/zero3.json}"
[ -z "$IMAGES" ] || set -- --image_folder "$IMAGES" "$@"
aspect=pad
if [ -n "$IMAGE_STORE" ]; then
    aspect=square # its images were encoded without padding
    set -- --revision_image_store "$IMAGE_STORE" "$@"
fi
[ -z "$PART_ALIGNER" ] || set -- --revision_part_aligner "$PART_ALIGNER" "$@"
[ "$VIEWS" = 1 ] || set -- --revision_views "$VIEWS" "$@"
[ -z "$ALIGNER" ] || set -- --revision_aligner "$ALIGNER" "$@"
[ -z "$DEEPSPEED" ] || set -- --deepspeed "$DEEPSPEED" "$@"
require_whole GPUS GLOBAL_BATCH BATCH_PER_GPU TOKENS SAVE_STEPS
require_number LEARNING_RATE
accumulation=$(accumulation)
# shellcheck disable=SC2086
launch $LAUNCHER "$here/train.py" \
    --model_name_or_path "$MODEL" --version "$VERSION" --data_path "$DATA" \
    --vision_tower revision --revision_encoder "$ENCODER" --revision_tokens "$TOKENS" \
    --pretrain_mm_mlp_adapter "$PROJECTOR" --mm_projector_type mlp2x_gelu \
    --mm_use_im_start_end False --mm_use_im_patch_token False \
    --image_aspect_ratio "$aspect" --group_by_modality_length True $PRECISION \
    --output_dir "$OUT" --num_train_epochs 1 --per_device_train_batch_size "$BATCH_PER_GPU" \
    --gradient_accumulation_steps "$accumulation" \
    --evaluation_strategy no --save_strategy steps --save_steps "$SAVE_STEPS" --save_total_limit 1 \
    --learning_rate "$LEARNING_RATE" --weight_decay 0. --warmup_ratio 0.03 --lr_scheduler_type cosine \
    --logging_steps 1 --model_max_length 2048 --gradient_checkpointing True \
    --dataloader_num_workers 4 --lazy_preprocess True --report_to "$REPORT_TO" "$@"

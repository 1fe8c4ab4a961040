"""Everything that is rebound for LLaVA-NeXT: what LLaVA 1.2.2 needs too, and what only older code needs."""

from __future__ import annotations

from ..hooks import Hook, HookTable
from ..llava.hook_table import MODELS, NAMES, PROCESSES, SHIMS, TOWER, TRAINER, TRAINING

IMPORTS = (
    *(
        Hook(
            f"transformers.modeling_utils.{name}",
            "the Q-Former imports it from where it no longer is",
            f"{SHIMS}.transformers_names:{wrapper}",
            "transformers >= 4.50",
            adds=True,
        )
        for name, wrapper in (
            ("apply_chunking_to_forward", "apply_chunking"),
            ("find_pruneable_heads_and_indices", "find_heads"),
            ("prune_linear_layer", "prune_layer"),
        )
    ),
    Hook(
        "transformers.trainer.GradientAccumulationPlugin",
        "llava.train.llava_trainer imports the name from there",
        f"{SHIMS}.transformers_names:accumulation_plugin",
        "transformers >= 4.50",
        adds=True,
    ),
    Hook(
        "llava.train.train",
        "imports trl, which nothing here uses: it is imported with stand-ins",
        f"{SHIMS}.next_imports:import_without_trl",
        adds=True,
    ),
)
OVERRIDES = tuple(
    Hook(f"{TRAINER}.{name}", f"{reason}; Trainer's own takes its place", f"{SHIMS}.next_imports:{wrapper}")
    for name, wrapper, reason in (
        ("_inner_training_loop", "trainers_training_loop", "a copied training loop with names that it does not import"),
        ("create_accelerator_and_postprocess", "trainers_accelerator", "reads arguments that Trainer no longer has"),
        (
            "get_train_dataloader",
            "trainers_data_loader",
            "seeds its workers through a function that takes more arguments",
        ),
    )
)

MODEL_CLASSES = tuple(
    Hook(
        f"llava.model.language_model.llava_{name.lower()}.Llava{name}ForCausalLM.forward",
        "generate passes cache, which LLaVA-NeXT's forward rejects",
        f"{SHIMS}.transformers_models:more_forward_arguments",
        "transformers >= 5.24",
    )
    for name in ("Llama", "Qwen")
)
CONFIGS = (
    Hook(
        "transformers.Qwen2Config.rope_scaling",
        "LLaVA-NeXT sets it to None, which since transformers 5 clears the rotary embedding's base as well",
        f"{SHIMS}.next_imports:scaling_apart_from_theta",
        "transformers >= 5",
        optional=True,
    ),
    Hook(
        "llava.train.train.TrainingArguments",
        "the trainer asks for group_by_length, which transformers 5 no longer has",
        f"{SHIMS}.next_imports:arguments_of_old",
        "transformers >= 5",
    ),
)

HOOKS = HookTable(
    "LLaVA-NeXT 1.7",
    before=(*NAMES, *IMPORTS),
    after=(*OVERRIDES, *CONFIGS, *PROCESSES, *MODELS, *TOWER, *TRAINING, *MODEL_CLASSES),
)

"""Everything that is rebound for LLaVA 1.2.2: symbol, reason, versions, public issue, wrapper, in the order it
happens.
"""

from __future__ import annotations

from ..hooks import Hook, HookTable
from ..shared_hooks import CONSENT, PARTIAL, SHIMS
from ..shared_hooks import PROCESSES as SHARED

LLAVA = "revision_plugin.hosts.llava"
TRAINER = "llava.train.llava_trainer.LLaVATrainer"

NAMES = (
    Hook(
        "transformers.trainer.ALL_LAYERNORM_LAYERS",
        "llava.train.llava_trainer imports the name from a module that no longer has it",
        f"{SHIMS}.transformers_names:layernorm_layers",
        "transformers >= 4.53",
        "urchade/GLiNER#273, caused by huggingface/transformers#38922",
        adds=True,
    ),
    Hook(
        "transformers.trainer.get_parameter_names",
        "llava.train.llava_trainer imports the name from a module that no longer has it",
        f"{SHIMS}.transformers_names:parameter_names",
        "transformers >= 5",
        "urchade/GLiNER#273 (the same kind of move)",
        adds=True,
    ),
)
PROCESSES = (
    *SHARED,
    Hook(
        "torch.cuda.synchronize",
        "the LLaVAs call it at their last save, which fails after a whole training where there is no GPU",
        f"{SHIMS}.torch_cuda:only_with_a_gpu",
    ),
)
MODELS = (
    CONSENT,
    Hook(
        "transformers.PreTrainedModel.from_pretrained",
        "--bits 4 passes load_in_4bit beside a quantization_config, which is refused, its adapters cannot be "
        "merged, a tied head cannot be in bits; since transformers 5, torch_dtype=None means the dtype of the files "
        "instead of float32",
        f"{SHIMS}.transformers_models:quantized_and_default_dtype",
        "transformers >= 4.40",
        "hiyouga/LlamaFactory#4157 (the same symptom)",
        takes=("pretrained_model_name_or_path", "config"),
    ),
    Hook(
        "transformers.GenerationConfig.save_pretrained",
        "Vicuna's generation config sets a temperature without do_sample, which saving now refuses",
        f"{SHIMS}.transformers_models:sampling_says_so",
        "transformers >= 4.41",
        "haotian-liu/LLaVA#1144, haotian-liu/LLaVA#1635",
    ),
)
TOWER = (
    Hook(
        "llava.model.llava_arch.build_vision_tower",
        "'--vision_tower revision' gives the pseudo-vision tower",
        f"{LLAVA}.tower_builder:build_or_pass_on",
        also=("llava.model.multimodal_encoder.builder.build_vision_tower",),
    ),
    Hook(
        "llava.model.llava_arch.LlavaMetaModel.initialize_vision_modules",
        "writes into config.json what inference needs",
        f"{LLAVA}.tower_builder:record_for_inference",
        takes=("model_args", "fsdp"),
    ),
)
TRAINING = (
    Hook(
        "llava.train.train.ModelArguments",
        "the flags --revision_encoder, --revision_aligner, --revision_part_aligner, --revision_views, "
        "--revision_tokens, --revision_trust_remote_code",
        "revision_plugin.hosts.training_flags:model_arguments",
    ),
    Hook(
        "llava.train.train.DataArguments",
        "the flags --revision_store, --revision_image_store, --revision_whole_share and --revision_probe...",
        "revision_plugin.hosts.training_flags:data_arguments",
    ),
    Hook(
        "llava.train.train.make_supervised_data_module",
        "text-only data from an embedding store",
        f"{LLAVA}.dataset:data_module_builder",
        takes=("tokenizer", "data_args"),
    ),
    Hook(
        "llava.conversation.conv_templates",
        "the conversation templates that the plugin brings",
        f"{LLAVA}.templates:with_templates",
    ),
    Hook(
        "llava.train.train.preprocess",
        "label masking of the conversation templates that the plugin brings",
        f"{LLAVA}.templates:exact_masks",
        takes=("sources", "tokenizer", "has_image"),
    ),
    Hook(
        f"{TRAINER}.__init__",
        "takes 'tokenizer', which Trainer calls processing_class; drops checkpoints that a kill cut short, writes "
        "run.json",
        f"{LLAVA}.resume:recorded_start",
        "transformers >= 4.46",
        "huggingface/transformers#32385",
        probe=f"{LLAVA}.probes:trainer_starts",
    ),
    Hook(
        f"{TRAINER}._save_checkpoint",
        "checkpoints that both stages resume from; passes on no 'metrics', which Trainer's no longer takes",
        f"{LLAVA}.resume:checkpoint_saver",
        "transformers >= 4.47",
        "maple-research-lab/TPDM#3 (the same symptom)",
        takes=("model", "trial"),
        probe=f"{LLAVA}.probes:trainer_saves",
    ),
    Hook(
        f"{TRAINER}.save_model",
        "no frozen language model in a checkpoint of Stage 1",
        f"{LLAVA}.resume:model_saver",
        takes=("output_dir", "_internal_call"),
    ),
    Hook(
        f"{TRAINER}._save_optimizer_and_scheduler",
        "no frozen language model in a DeepSpeed checkpoint of Stage 1",
        f"{LLAVA}.resume:optimizer_saver",
        takes=("output_dir",),
    ),
    Hook(
        f"{TRAINER}._rotate_checkpoints",
        "older checkpoints go only once the newest is whole",
        f"{LLAVA}.resume:rotation_of_whole_ones",
        "transformers 4",
        optional=True,
        takes=("use_mtime", "output_dir"),
    ),
    Hook(
        "transformers.trainer.rotate_checkpoints",
        "older checkpoints go only once the newest is whole",
        f"{LLAVA}.resume:function_rotating_whole_ones",
        "transformers >= 5",
        optional=True,
        takes=("output_dir", "save_total_limit", "best_model_checkpoint", "use_mtime"),
    ),
    Hook(
        f"{TRAINER}._load_from_checkpoint",
        "takes a Stage-1 checkpoint",
        f"{LLAVA}.resume:checkpoint_loader",
        takes=("resume_from_checkpoint", "model"),
    ),
    PARTIAL,
    Hook(
        f"{TRAINER}._get_train_sampler",
        "grouped batches by seed and epoch; Trainer passes it the dataset, LLaVA's override takes no argument",
        f"{LLAVA}.resume:seeded_sampler",
        "transformers >= 4.50",
        "hiyouga/LlamaFactory#8207 (the same symptom)",
    ),
    Hook(
        f"{TRAINER}.train",
        "asserts the DeepSpeed engine that the flags ask for; a resumed training draws on in its curves and "
        "--revision_probe measures beside it; SIGINT and SIGTERM stop with a checkpoint",
        f"{LLAVA}.stop:stoppable",
    ),
    Hook(
        f"{TRAINER}.training_step",
        "counts tokens; stops at a loss that is not finite, which transformers logs as 0.0",
        f"{LLAVA}.stop:finite_losses",
        takes=("model", "inputs"),
    ),
    Hook(
        f"{TRAINER}.log",
        "the loss' log lines say tokens and samples a second and the highest memory",
        f"{LLAVA}.stop:paced_log",
        takes=("logs",),
    ),
    Hook(
        "llava.train.train.Image",
        "images are decoded as encoding decodes them, and none outside --image_folder",
        f"{LLAVA}.training_images:one_decoder",
    ),
    Hook(
        "llava.train.train.safe_save_model_for_hf_trainer",
        "final files appear whole, the weights last",
        f"{LLAVA}.resume:final_saver",
    ),
)
BACKBONES = (
    Hook(
        "llava.train.train.LlavaLlamaForCausalLM",
        "a language model of any type gets its class, also under a Stage-1 or LoRA checkpoint",
        f"{LLAVA}.language_models:by_model_type",
        also=("llava.model.builder.LlavaLlamaForCausalLM",),
    ),
    Hook(
        "llava.model.builder.load_pretrained_model",
        "the class of the checkpoint's language model, and the prompt that it was trained with",
        f"{LLAVA}.language_models:with_registered_class",
        takes=("model_path",),
    ),
    *(
        Hook(
            f"llava.model.language_model.llava_{name.lower()}.Llava{name}ForCausalLM.forward",
            "generate passes cache_position or, since transformers 5.24, cache, which LLaVA's forward rejects",
            f"{SHIMS}.transformers_models:more_forward_arguments",
            "transformers >= 4.38",
            "haotian-liu/LLaVA#1218, haotian-liu/LLaVA#1448",
        )
        for name in ("Llama", "Mistral")
    ),
)

HOOKS = HookTable("LLaVA 1.2.2", before=NAMES, after=(*PROCESSES, *MODELS, *TOWER, *TRAINING, *BACKBONES))

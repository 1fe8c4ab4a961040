"""Both stages in the HF-native form: flags in, the folder out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoTokenizer, BitsAndBytesConfig
from transformers.trainer_utils import set_seed

from ..._common.distributed import launched_rank
from ..._common.files import read_object
from ...encoders import Identity, require_same
from ...errors import RevisionError
from .. import checkpoints, run_record
from ..chat_template import chat_template
from ..checkpoint_parts import CheckpointParts
from ..curves import begin_curves
from ..engine import EngineCheck
from ..named_templates import NAMED, encode_pieces, end_ids, end_mark, prompt_form, prompt_text
from ..native_form import is_native
from ..probe import ProbeCallback, read_probe
from ..projector_weights import folder_projector
from ..quantized import WHOLE, on_cpu, require_bitsandbytes
from ..stop import StopOnSignal, exit_if_stopped
from ..store_checks import StoreChecks
from ..tokenizers import AUTO, begin_texts, require_marks_of, require_same_vocabulary
from ..tower_flags import check_projector, tower_from_flags, training_record, use_flags
from ..weight_files import read_tensors
from .native_folder import require_writable, write_native
from .native_model import IMAGE, NONE, with_image_token
from .native_parts import native_parts
from .native_trainer import NativeTrainer, load_trained, trained_weights
from .opened_folder import folder_record, open_folder, saved_dtype
from .training_arguments import LINEAR, MLP, Flags, parse
from .training_data import Collator, Encoding, training_data
from .training_model import NativeModel, around, load_language_model, load_projector, opened, without_deepspeed

LLAVA_PROJECTOR = "mm_projector."


@dataclass
class Prepared:
    """What a training begins with, or its result is written from."""

    made: NativeModel
    tokenizer: Any
    record: dict
    ends: list[int]
    dtype: torch.dtype  # that the language model was saved in


def train(arguments: list[str], given: dict[str, str]) -> None:
    """Train as the flags say, from the start or from the last whole checkpoint, and write the HF-native folder."""
    flags = parse(arguments, given)
    out = Path(flags.training.output_dir)
    if flags.training.n_gpu > 1:
        raise RevisionError(
            f"one process trains on {flags.training.n_gpu} GPUs, among which images cannot be shared out; launch it "
            "with torchrun or deepspeed, or choose one with CUDA_VISIBLE_DEVICES"
        )
    set_seed(flags.training.seed)  # before the projector is drawn
    prepared = prepare(flags)
    made, tower = prepared.made, prepared.made.tower
    place = torch.bfloat16 if flags.training.bf16 else torch.float16
    tower.to(dtype=place, device=flags.training.device)
    flags.data.image_processor = tower.image_processor
    image_id = made.model.config.image_token_index
    longest = flags.training.model_max_length
    encoding = Encoding(prepared.tokenizer, flags.model.version, image_id, tower.num_patches, longest)
    checks = StoreChecks()
    data = training_data(flags.data, encoding, tower, checks)
    checkpoints.tidy_for_all(out)
    if launched_rank() == 0:
        require_writable(_parts(flags, prepared))
    collator = Collator(prepared.tokenizer.pad_token_id)
    probe = read_probe(flags.data, tower, encoding.item, collator)
    trainer = NativeTrainer(model=made.model, args=flags.training, train_dataset=data, data_collator=collator)
    if flags.training.process_index == 0:
        details = {"training_arguments": flags.training.to_dict(), "model": {"revision": prepared.record}}
        run_record.add(out, "resolved", details)
    stop = StopOnSignal()
    trainer.add_callback(EngineCheck(trainer))
    trainer.add_callback(stop)
    trainer.add_callback(checks)
    if probe is not None:
        trainer.add_callback(ProbeCallback(trainer, probe))
    begin_curves(trainer, flags.values)
    trainer.train(resume_from_checkpoint=bool(checkpoints.checkpoint_folders(out)))
    exit_if_stopped(stop, trainer)
    trainer.save_state()
    checkpoints.require_finite(made.model)
    weights = trained_weights(made.model, keep=trainer.args.should_save)
    if trainer.args.should_save:
        with without_deepspeed():
            _write(flags, prepared, weights, out)
    checkpoints.wait_for_all()


def _write(flags: Flags, trained: Prepared, weights: dict[str, torch.Tensor], out: Path) -> None:
    """The result of a training that ended with these weights, as OUT: in the model as it is opened anew, since the
    trained one may be quantized, spread over processes, or hold its encoder in fewer bits.
    """
    prepared = prepare(flags, final=True)
    prepared.record = trained.record
    load_trained(prepared.made.model, weights, out)
    if prepared.made.adapters is not None:
        prepared.made.adapters.merge_and_unload()
    unfinished = checkpoints.begin(out, checkpoints.UNFINISHED)
    unfinished.mkdir()
    write_native(_parts(flags, prepared), unfinished)
    checkpoints.publish(out)


def _parts(flags: Flags, prepared: Prepared) -> CheckpointParts:
    version, tokenizer = flags.model.version, prepared.tokenizer

    def prompt_ids(question: str | None) -> list[int]:
        return encode_pieces([(prompt_text(version, tokenizer, question), False)], tokenizer)[0].tolist()

    return native_parts(
        flags.training.output_dir,
        prepared.made,
        tokenizer=tokenizer,
        prompt=prompt_form(version, tokenizer),
        prompt_ids=prompt_ids,
        ends=prepared.ends,
        square=flags.data.image_aspect_ratio == "pad",
        dtype=prepared.dtype,
        record=prepared.record,
    )


def prepare(flags: Flags, *, final: bool = False) -> Prepared:
    """The model that the flags ask for, with what they train; a `final` one, on the CPU and whole, takes its result."""
    name = flags.model.model_name_or_path
    path = Path(name).expanduser()
    prepared = _of_folder(path, flags, final) if is_native(path) else _of_language_model(name, flags, final)
    made = prepared.made
    if not final:
        use_flags(made.tower, flags.model)
        prepared.record = training_record(made.tower, flags.model.version, name)
        if flags.model.version == AUTO:
            prepared.record["chat_template"] = chat_template(prepared.tokenizer).hash
        if flags.model.pretrain_mm_mlp_adapter:
            _load_pretrained(made, flags)
    _choose_trained(made, flags)
    return prepared


def _of_language_model(name: str, flags: Flags, final: bool) -> Prepared:
    """A new LLaVA around a causal language model; random numbers are drawn in the order in which LLaVA draws them."""
    cache = flags.training.cache_dir
    loaded = load_language_model(name, cache_dir=cache, **_loading(flags, final))
    saved = next(each.dtype for each in loaded.parameters() if each.is_floating_point())
    adapters = _adapted(loaded, loaded.base_model, flags, final)
    longest = flags.training.model_max_length
    tokenizer = AutoTokenizer.from_pretrained(name, cache_dir=cache, model_max_length=longest, padding_side="right")
    tokenizer.pad_token = tokenizer.unk_token  # as LLaVA pads
    _prepare_tokenizer(tokenizer, loaded.config, flags.model.version)
    ends = end_ids(loaded.generation_config.eos_token_id, end_mark(flags.model.version, tokenizer), tokenizer)
    tower = tower_from_flags(flags.model)
    image_id = with_image_token(tokenizer).convert_tokens_to_ids(IMAGE)
    linear = (flags.model.mm_projector_type or LINEAR) == LINEAR
    made = around(loaded, tower, image_id, name=name, linear=linear)
    made.adapters = adapters
    return Prepared(made, tokenizer, {}, ends, saved)


def _of_folder(path: Path, flags: Flags, final: bool) -> Prepared:
    """An HF-native folder that goes on being trained. Raises RevisionError for flags that ask for something else."""
    record = folder_record(path)
    for flag, trained in (("--revision_tokens", str(record["tokens"])), ("--mm_projector_type", _projector_type(path))):
        if flags.values.get(flag, trained) != trained:
            raise RevisionError(f"{flag} {flags.values[flag]}: {path} was trained with {trained}; leave it out")
    with without_deepspeed():
        folder = open_folder(path, **({"dtype": torch.float32} if final else _loading(flags, final)))
    tower = folder.tower()
    adapters = _adapted(folder.model, folder.model.model.language_model, flags, final)
    for mark in ("is_quantized", "is_loaded_in_4bit", "is_loaded_in_8bit"):  # said of the language model in it alone,
        setattr(folder.model, mark, False)  # as of a new LLaVA: Trainer looks for adapters in what is quantized
    folder.model.quantization_method = None
    tokenizer = folder.tokenizer
    tokenizer.model_max_length = flags.training.model_max_length
    _prepare_tokenizer(tokenizer, folder.model.config.text_config, flags.model.version)
    own = folder.model.config.text_config.eos_token_id
    ends = end_ids(own, end_mark(flags.model.version, tokenizer), tokenizer)
    made = opened(folder.model, tower, path)
    made.adapters = adapters
    dtype = saved_dtype(path) if flags.is_stage1 else _loading(flags, final)["dtype"]
    return Prepared(made, tokenizer, {}, ends, dtype)


def _projector_type(path: Path) -> str:
    return LINEAR if read_object(path / "config.json").get("projector_hidden_act") == NONE else MLP


def _loading(flags: Flags, final: bool) -> dict[str, Any]:
    """How the language model is loaded: in what it trains in, or, where it stays as it was, for the result as saved."""
    training = flags.training
    dtype = torch.bfloat16 if training.bf16 else torch.float32
    if final:
        return {"dtype": "auto" if flags.is_stage1 else dtype}
    if training.bits == 16:
        return {"dtype": torch.float16 if training.fp16 and training.lora_enable else dtype}
    require_bitsandbytes(training.bits)
    quantization = BitsAndBytesConfig(
        load_in_4bit=training.bits == 4,
        load_in_8bit=training.bits == 8,
        llm_int8_skip_modules=list(WHOLE),
        bnb_4bit_compute_dtype=torch.float16 if training.fp16 else dtype,
        bnb_4bit_use_double_quant=training.double_quant,
        bnb_4bit_quant_type=training.quant_type,
    )
    return {"dtype": dtype, "quantization_config": quantization, "device_map": {"": training.device}}


def _adapted(loaded: Any, inner: Any, flags: Flags, final: bool) -> Any:
    """peft's model around `inner`, the language model of `loaded`, where adapters are trained."""
    training = flags.training
    if training.bits != 16 and not final:
        if torch.device(training.device).type == "cpu":
            on_cpu(loaded, training.bits)
        prepare_model_for_kbit_training(loaded, use_gradient_checkpointing=training.gradient_checkpointing)
        inner.is_loaded_in_4bit, inner.is_loaded_in_8bit = training.bits == 4, training.bits == 8
    if not training.lora_enable:
        return None
    linear = {name.rpartition(".")[2] for name, module in inner.named_modules() if isinstance(module, torch.nn.Linear)}
    config = LoraConfig(
        r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=sorted(linear),
        bias="none",
    )
    return get_peft_model(inner, config)


def _prepare_tokenizer(tokenizer: Any, config: Any, version: str) -> None:
    if version in NAMED:
        template = NAMED[version]
        written = " ".join((template.system, template.question, template.reply, template.end, template.between))
        require_marks_of(tokenizer, version, written)
    require_same_vocabulary(tokenizer, config)
    begin_texts(tokenizer, version)


def _load_pretrained(made: NativeModel, flags: Flags) -> None:
    """Give the projector the weights of --pretrain_mm_mlp_adapter. Raises RevisionError for those of another one."""
    path = Path(flags.model.pretrain_mm_mlp_adapter)
    if path.is_dir():
        trained = Identity.from_json(folder_record(path)["encoder"], str(path / "config.json"))
        problem = f"{path}: was trained with another encoder"
        require_same(trained, made.tower.encoder.identity, problem, "use one encoder in both stages")
        tensors = folder_projector(path, made.input_scale)
    else:
        check_projector(path, flags.model.revision_encoder, flags.model.model_name_or_path)
        tensors = {
            name.partition(LLAVA_PROJECTOR)[2]: value
            for name, value in read_tensors(path).items()
            if LLAVA_PROJECTOR in name
        }
    load_projector(made, tensors, path)


def _choose_trained(made: NativeModel, flags: Flags) -> None:
    """Mark what is trained: the projector alone, or with the language model or its adapters."""
    training, model = flags.training, made.model
    if flags.is_stage1:
        model.requires_grad_(False)
    elif training.lora_enable:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name)
    elif flags.model.freeze_backbone:
        made.language_model.requires_grad_(False)
    made.projector.requires_grad_(False)
    for layer in made.layers:
        layer.requires_grad_(not training.freeze_mm_mlp_adapter)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RevisionError("nothing is trained: the flags freeze the language model and the projector")
    if training.gradient_checkpointing:
        model.enable_input_require_grads()

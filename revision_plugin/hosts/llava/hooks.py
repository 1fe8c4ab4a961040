"""What the plugin rebinds in LLaVA: the tower builder, the flags, the data module, the label masking."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from ..._common.files import read_json
from ...aligners import load_aligner
from ...encoders import load_encoder
from ...errors import RevisionError
from ...tower import PseudoVisionTower
from ..base import Binding
from .host import TOWER_NAME

BINDS_TO = "LLaVA 1.2.2 and LLaVA-NeXT 1.7"
BINDINGS = [
    Binding("llava.model.multimodal_encoder.builder.build_vision_tower", f"'--vision_tower {TOWER_NAME}' gives the pseudo-vision tower"),
    Binding("llava.model.llava_arch.build_vision_tower", "imported there by value"),
    Binding("llava.model.llava_arch.LlavaMetaModel.initialize_vision_modules", "writes into config.json what inference needs"),
    Binding("llava.train.train.ModelArguments", "the flags --revision_encoder, --revision_aligner, --revision_tokens, --revision_trust_remote_code"),
    Binding("llava.train.train.DataArguments", "the flag --revision_store"),
    Binding("llava.train.train.make_supervised_data_module", "text-only data from an embedding store"),
    Binding("llava.train.llava_trainer.LLaVATrainer.training_step", "asserts the DeepSpeed engine that the flags ask for"),
    Binding("llava.train.llava_trainer.LLaVATrainer.__init__", "drops checkpoints that a kill cut short, writes run.json"),
    Binding("llava.train.llava_trainer.LLaVATrainer._save_checkpoint", "checkpoints that both stages resume from"),
    Binding("llava.train.llava_trainer.LLaVATrainer._load_from_checkpoint", "takes a Stage-1 checkpoint"),
    Binding("llava.train.llava_trainer.LLaVATrainer._get_train_sampler", "grouped batches by seed and epoch"),
    Binding("llava.train.llava_trainer.LLaVATrainer.train", "SIGINT and SIGTERM stop with a checkpoint"),
    Binding("llava.train.train.safe_save_model_for_hf_trainer", "final files appear whole, the weights last"),
    Binding("transformers.trainer.deepspeed_load_checkpoint", "takes checkpoints without frozen parameters"),
    Binding("llava.train.train.preprocess", "label masking of the conversation templates the plugin brings"),
]  # fmt: skip
BACKBONES = [
    Binding("llava.train.train.LlavaLlamaForCausalLM", "a Mistral gets LLaVA's class for it"),
    Binding("llava.model.builder.LlavaLlamaForCausalLM", "so too over the base of a Stage-1 or LoRA checkpoint"),
]


def bindings(*, llava_next: bool = False) -> list[Binding]:
    """What `install` rebinds; LLaVA-NeXT has classes for more backbones, and its own way to choose."""
    return BINDINGS if llava_next else BINDINGS + BACKBONES


def install(*, llava_next: bool = False) -> None:
    """Rebind all hooks once. Raises RevisionError naming a symbol that has moved."""
    import llava.model.llava_arch as arch
    import llava.model.multimodal_encoder.builder as builder
    import llava.train.train as train
    import transformers.trainer
    from llava.train.llava_trainer import LLaVATrainer

    from . import dataset, engine, resume, stop, templates

    for binding in bindings(llava_next=llava_next):
        _require(binding.symbol)
    if hasattr(builder.build_vision_tower, "revision_original"):
        return
    builder.build_vision_tower = arch.build_vision_tower = _tower_builder(arch.build_vision_tower)
    arch.LlavaMetaModel.initialize_vision_modules = _initializer(arch.LlavaMetaModel.initialize_vision_modules)
    if not llava_next:
        _choose_backbones()
    train.ModelArguments = dataclasses.make_dataclass(
        "ModelArguments",
        [
            ("revision_encoder", str | None, _flag(None, "Encoder spec of the pseudo-vision tower.")),
            ("revision_aligner", str | None, _flag(None, "Folder of a fitted aligner; needed for text embeddings.")),
            ("revision_trust_remote_code", bool, _flag(False, "Run code that the encoder's model brings.")),
            ("revision_tokens", int, _flag(1, "Visual tokens per image; the reference implementation copies to 576.")),
        ],
        bases=(train.ModelArguments,),
    )
    train.DataArguments = dataclasses.make_dataclass(
        "DataArguments",
        [("revision_store", str | None, _flag(None, "Text store joined by id to a LLaVA JSON's items without image."))],
        bases=(train.DataArguments,),
    )
    train.make_supervised_data_module = dataset.data_module_builder(train.make_supervised_data_module)
    LLaVATrainer.training_step = engine.checked_step(LLaVATrainer.training_step)
    LLaVATrainer.__init__ = resume.recording_start(LLaVATrainer.__init__)
    LLaVATrainer._save_checkpoint = resume.checkpoint_saver(LLaVATrainer._save_checkpoint)
    LLaVATrainer._load_from_checkpoint = resume.checkpoint_loader(LLaVATrainer._load_from_checkpoint)
    LLaVATrainer._get_train_sampler = resume.seeded_sampler(LLaVATrainer._get_train_sampler)
    LLaVATrainer.train = stop.stoppable(LLaVATrainer.train)
    train.safe_save_model_for_hf_trainer = resume.final_saver(train.safe_save_model_for_hf_trainer)
    loader = transformers.trainer.deepspeed_load_checkpoint
    transformers.trainer.deepspeed_load_checkpoint = resume.partial_loader(loader)
    templates.install()


def _choose_backbones() -> None:
    import llava.model.builder as builder
    import llava.train.train as train

    from .backbones import by_model_type

    train.LlavaLlamaForCausalLM = builder.LlavaLlamaForCausalLM = by_model_type(train.LlavaLlamaForCausalLM)


def _require(symbol: str) -> None:
    import importlib

    parts = symbol.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        if all((found := getattr(found, name, None)) is not None for name in parts[cut:]):
            return
        break
    raise RevisionError(f"{symbol} has moved in the installed LLaVA; this release binds to {BINDS_TO}")


def _flag(default, text: str):
    return dataclasses.field(default=default, metadata={"help": text})


def _tower_builder(original):
    @functools.wraps(original)
    def build_vision_tower(config, **kwargs):
        name = getattr(config, "mm_vision_tower", getattr(config, "vision_tower", None))
        if name != TOWER_NAME:
            return original(config, **kwargs)
        record = getattr(config, "revision", None)
        return _tower_from_config(record) if record else _tower_from_flags(config)

    build_vision_tower.revision_original = original
    return build_vision_tower


def _tower_from_flags(arguments) -> PseudoVisionTower:
    spec = getattr(arguments, "revision_encoder", None)
    if not spec:
        raise RevisionError(
            f"--vision_tower {TOWER_NAME} needs --revision_encoder SPEC, the encoder your store was made with"
        )
    tower = PseudoVisionTower(load_encoder(spec), tokens=arguments.revision_tokens)
    tower.load_model()
    return tower


def _tower_from_config(record: dict) -> PseudoVisionTower:
    """The tower of a trained checkpoint: needs its encoder, and neither store nor statistics."""
    return PseudoVisionTower(encoder_of(record), tokens=record["tokens"])


def encoder_of(record: dict):
    """The encoder a checkpoint was trained with. Raises RevisionError where it is missing or another one now."""
    wanted = record["encoder"]
    try:
        encoder = load_encoder(wanted["spec"])
    except RevisionError as error:
        raise RevisionError(f"the checkpoint's encoder '{wanted['spec']}' cannot be loaded: {error}") from None
    kind = "image_fingerprint" if "image_fingerprint" in wanted else "fingerprint"  # a checkpoint sees images alone
    found = getattr(encoder, kind)
    if found != wanted[kind]:
        raise RevisionError(
            f"the checkpoint was trained with encoder '{wanted['spec']}' ({wanted[kind][:12]}), but what is "
            f"there now is another one ({found[:12]}); put the original encoder back"
        )
    return encoder


def _initializer(original):
    @functools.wraps(original)
    def initialize_vision_modules(self, model_args, fsdp=None):
        if model_args.vision_tower == TOWER_NAME and model_args.pretrain_mm_mlp_adapter:
            _check_projector(model_args)
        original(self, model_args, fsdp=fsdp)
        tower = self.get_vision_tower()
        if isinstance(tower, PseudoVisionTower):
            _use_flags(tower, model_args)
            self.config.revision = {
                "encoder": tower.encoder.identity,
                "tokens": tower.num_patches,
                "aligner": tower.aligner.identity if tower.aligner else None,
                "conversation": model_args.version,
            }

    return initialize_vision_modules


def _use_flags(tower: PseudoVisionTower, model_args) -> None:
    """Give the tower the aligner of the flags; a model that brings its own tower must have been given the same encoder."""
    if model_args.revision_encoder:
        identity = load_encoder(model_args.revision_encoder).identity
        if identity["fingerprint"] != tower.encoder.fingerprint:
            raise RevisionError(
                f"--revision_encoder {identity['spec']}: the model was trained with '{tower.encoder.spec}'; give that one"
            )
    if model_args.revision_aligner:
        aligner = load_aligner(model_args.revision_aligner)
        aligner.check_encoder(tower.encoder.identity, "--revision_encoder")
        tower.use_aligner(aligner)
        tower.image_processor.aligner = aligner  # of the tower, LLaVA shows the data module only its processor


def _check_projector(model_args) -> None:
    """Raise RevisionError where a Stage-1 projector was trained with another encoder."""
    from pathlib import Path

    path = Path(model_args.pretrain_mm_mlp_adapter)
    if not path.is_file():
        raise RevisionError(
            f"{path}: no such projector; give the mm_projector.bin of Stage 1 to --pretrain_mm_mlp_adapter"
        )
    config = path.with_name("config.json")
    record = read_json(config).get("revision") if config.is_file() else None
    if record and model_args.revision_encoder:
        identity = load_encoder(model_args.revision_encoder).identity
        if identity["fingerprint"] != record["encoder"]["fingerprint"]:
            raise RevisionError(
                f"{path}: was trained with encoder '{record['encoder']['spec']}', not '{identity['spec']}'; use one encoder in both stages"
            )

"""The flags of a training in the HF-native form: LLaVA's names as far as they mean something here, the plugin's, and
transformers'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers
from transformers import HfArgumentParser

from ..._common.files import read_object
from ...errors import RevisionError
from ...tower import TOWER_NAME
from ..checkpoint_parts import LINEAR, MLP
from ..command_line import checked_values
from ..named_templates import VERSIONS
from ..training_flags import data_arguments, model_arguments
from ..training_stores import WHOLE_IMAGES

BITS = (4, 8, 16)


@dataclass
class LlavaModelArguments:
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A causal language model, or an HF-native folder that goes on being trained."}
    )
    version: str | None = field(default=None, metadata={"help": f"Conversation template: {', '.join(VERSIONS)}."})
    freeze_backbone: bool = field(default=False, metadata={"help": "Train no layer of the language model."})
    tune_mm_mlp_adapter: bool = field(default=False, metadata={"help": "Train the projector alone (Stage 1)."})
    vision_tower: str | None = field(default=None, metadata={"help": f"'{TOWER_NAME}', the pseudo-vision tower."})
    pretrain_mm_mlp_adapter: str | None = field(
        default=None, metadata={"help": "A projector: mm_projector.bin of Stage 1, or an HF-native folder."}
    )
    mm_projector_type: str | None = field(default=None, metadata={"help": f"{LINEAR} (a new one's default) or {MLP}."})
    mm_use_im_start_end: bool = field(default=False, metadata={"help": "False: images have no marks around them."})
    mm_use_im_patch_token: bool = field(default=False, metadata={"help": "False: there is no token for patches."})


@dataclass
class LlavaDataArguments:
    data_path: str | None = field(default=None, metadata={"help": "A text store, or a LLaVA JSON."})
    lazy_preprocess: bool = field(default=True, metadata={"help": "Examples are always made when they are needed."})
    image_folder: str | None = field(default=None, metadata={"help": "Where a LLaVA JSON's images are."})
    image_aspect_ratio: str = field(default="square", metadata={"help": "square, or pad to a square first."})


@dataclass
class NativeTrainingArguments(transformers.TrainingArguments):
    cache_dir: str | None = field(default=None, metadata={"help": "Where models of the hub are kept."})
    optim: str = field(default="adamw_torch")
    remove_unused_columns: bool = field(default=False)
    freeze_mm_mlp_adapter: bool = field(default=False, metadata={"help": "Do not train the projector."})
    model_max_length: int = field(default=512, metadata={"help": "Tokens of an example, visual ones counted."})
    bits: int = field(default=16, metadata={"help": "4 or 8: the language model quantized, under adapters."})
    double_quant: bool = field(default=True, metadata={"help": "Quantize the scales of 4 bits as well."})
    quant_type: str = field(default="nf4", metadata={"help": "Number type of 4 bits: nf4 or fp4."})
    lora_enable: bool = field(default=False, metadata={"help": "Train adapters, which are merged at the end."})
    lora_r: int = field(default=64, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=16, metadata={"help": "Scale of the adapters, times their rank."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout before the adapters."})
    mm_projector_lr: float | None = field(default=None, metadata={"help": "A learning rate of the projector's own."})
    group_by_modality_length: bool = field(default=False, metadata={"help": "Batches of like lengths and kinds."})


ModelArguments: Any = model_arguments(LlavaModelArguments)
DataArguments: Any = data_arguments(LlavaDataArguments)
TYPES: Any = (ModelArguments, DataArguments, NativeTrainingArguments)
# what transformers' own flags may say here, and why nothing else
ALLOWED: dict[str, tuple[tuple, str]] = {
    "mm_use_im_start_end": ((False,), "images have no marks around them in the HF-native form; leave it out"),
    "mm_use_im_patch_token": ((False,), "there is no token for patches in the HF-native form; leave it out"),
    "vision_tower": (
        (TOWER_NAME,),
        f"this host trains the pseudo-vision tower alone; give --vision_tower {TOWER_NAME}",
    ),
    "mm_projector_type": ((None, LINEAR, MLP), f"transformers' LLaVA holds {LINEAR} and {MLP}"),
    "image_aspect_ratio": (WHOLE_IMAGES, "the tower takes an image as a whole; use square or pad"),
    "bits": (BITS, "a language model trains in 4, 8 or 16 bits"),
    "quant_type": (("nf4", "fp4"), "4 bits are nf4 or fp4"),
    "label_smoothing_factor": ((0.0, 0), "this host trains on the labels as they are; leave it out"),
    "save_only_model": ((False,), "such a checkpoint cannot be resumed with the same result"),
    "push_to_hub": ((False,), "this host writes a folder; leave it out"),
    "resume_from_checkpoint": ((None,), "a repeated command resumes by itself; leave it out"),
    "do_eval": ((False,), "there is no evaluation while training; leave it out"),
    "do_predict": ((False,), "there is no evaluation while training; leave it out"),
    "eval_strategy": (("no",), "there is no evaluation while training; leave it out"),
    "load_best_model_at_end": ((False,), "there is no evaluation while training; leave it out"),
    "fsdp": ((None, "", [], False), "several processes share a model by --deepspeed"),
    "use_liger_kernel": ((False,), "its loss counts the image's token; leave it out"),
    "remove_unused_columns": ((False,), "examples have no unused columns; leave it out"),
}


@dataclass(frozen=True)
class Flags:
    """A training's flags."""

    model: Any
    data: Any
    training: Any
    values: dict[str, str]  # as they were given

    @property
    def is_stage1(self) -> bool:
        """Whether the projector alone is trained."""
        return bool(self.model.tune_mm_mlp_adapter)


def check_flags(arguments: Sequence[str]) -> None:
    """Raise RevisionError for flags that this host does not honour, before anything is made of them."""
    values = checked_values(arguments, TYPES)
    for name, (allowed, why) in ALLOWED.items():
        value = values.get(name)
        plain = getattr(value, "value", value)  # of an enumeration
        if name in values and plain not in allowed:
            raise RevisionError(f"--{name} {plain}: {why}")
    for name in ("model_name_or_path", "data_path", "output_dir"):
        if not values.get(name):
            raise RevisionError(f"--{name} is missing")
    if values["version"] not in VERSIONS:
        raise RevisionError(
            f"--version {values['version']}: this host has the conversation templates {', '.join(VERSIONS)}"
        )
    if values["tune_mm_mlp_adapter"] and (values["lora_enable"] or values["freeze_mm_mlp_adapter"]):
        other = "lora_enable" if values["lora_enable"] else "freeze_mm_mlp_adapter"
        raise RevisionError(f"--{other}: --tune_mm_mlp_adapter trains the projector alone; leave one out")
    if values["bits"] != 16 and not (values["lora_enable"] or values["tune_mm_mlp_adapter"]):
        raise RevisionError(
            f"--bits {values['bits']}: a quantized language model is not trained itself; give --lora_enable True"
        )
    settings = values.get("deepspeed")
    if isinstance(settings, str):
        read_object(Path(settings))


def parse(arguments: Sequence[str], given: dict[str, str]) -> Flags:
    """The flags of a training that `check_flags` has passed, which were `given` so."""
    model, data, training = HfArgumentParser(TYPES).parse_args_into_dataclasses(list(arguments))
    return Flags(model, data, training, given)

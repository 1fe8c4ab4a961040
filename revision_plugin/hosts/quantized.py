"""Answering with the language model in 4 or 8 bits (bitsandbytes); the projector, the tower and the head stay whole."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from ..errors import RevisionError

BITS = (4, 8)
# from the root: transformers 5 matches whole names
WHOLE = ("model.mm_projector", "model.multi_modal_projector", "model.vision_tower", "lm_head")


def require_bitsandbytes(bits: int | None) -> None:
    """Raise RevisionError for a number of bits that there is not, or where bitsandbytes is not installed."""
    if bits is None:
        return
    if bits not in BITS:
        raise RevisionError(f"a language model loads in {BITS[0]} or {BITS[1]} bits, not in {bits}")
    if find_spec("bitsandbytes") is None:
        raise RevisionError(f"{bits} bits need bitsandbytes, which is not installed; 'pip install bitsandbytes'")


def loading_keywords(bits: int | None, device: str) -> dict[str, Any]:
    """What `from_pretrained` takes for `bits`, with the types that LLaVA's loader chooses: nf4, quantised twice."""
    require_bitsandbytes(bits)
    if bits is None:
        return {}
    config = BitsAndBytesConfig(
        load_in_4bit=bits == 4,
        load_in_8bit=bits == 8,
        bnb_4bit_compute_dtype=torch.float32 if device == "cpu" else torch.float16,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_quant_type="nf4",
        llm_int8_skip_modules=list(WHOLE),
    )
    return {"quantization_config": config}


def on_cpu(model: Any, bits: int | None) -> Any:
    """`model` in float32, whatever is in bits as it is. Raises RevisionError for layers that bitsandbytes cannot
    compute with on a CPU.
    """
    if bits is None:
        return model.float()
    for name, module in model.named_modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None and (module.in_features % state.blocksize or module.out_features % state.blocksize):
            raise RevisionError(
                f"on a CPU bitsandbytes computes in 4 bits where all widths are multiples of {state.blocksize}; "
                f"'{name}' has {module.in_features} and {module.out_features}: load in 8 bits, or on a GPU"
            )
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():  # a quantised model refuses .float()
            value.data = value.data.float()
    return model

"""A tiny LLM2CLIP: a vision model that brings code of its own, as the released ones do, and the golden Llama."""

import json
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "golden"))
import record_llm2vec  # noqa: E402

DIM = 28
CODE = f"""
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, PretrainedConfig, PreTrainedModel


class TinyConfig(PretrainedConfig):
    model_type = "tiny_llm2clip"

    def __init__(self, projection_dim={DIM}, vision_config=None, **kwargs):
        super().__init__(**kwargs)
        self.projection_dim = projection_dim
        self.vision_config = CLIPVisionConfig(**(vision_config or {{}}))


class TinyLLM2CLIP(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.tower = CLIPVisionModelWithProjection(config.vision_config)
        self.text_adapter = torch.nn.Linear({record_llm2vec.HIDDEN}, config.projection_dim)
        self.post_init()

    def _init_weights(self, module):
        pass

    def get_image_features(self, pixel_values):
        return self.tower(pixel_values=pixel_values).image_embeds

    def get_text_features(self, inputs):
        return self.text_adapter(inputs)
"""


def build(folder):
    """Write `folder`/vision and `folder`/text; returns the encoder's spec."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    vision = folder / "vision"
    vision.mkdir(parents=True)
    torch.manual_seed(3)
    sizes = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    tower = CLIPVisionModelWithProjection(CLIPVisionConfig(projection_dim=DIM, **sizes))
    adapter = torch.nn.Linear(record_llm2vec.HIDDEN, DIM)
    from safetensors.torch import save_file

    weights = {f"tower.{name}": value.contiguous() for name, value in tower.state_dict().items()}
    weights |= {f"text_adapter.{name}": value for name, value in adapter.state_dict().items()}
    save_file(weights, vision / "model.safetensors", metadata={"format": "pt"})
    (vision / "modeling_tiny.py").write_text(CODE)
    (vision / "config.json").write_text(
        json.dumps(
            {
                "model_type": "tiny_llm2clip",
                "architectures": ["TinyLLM2CLIP"],
                "projection_dim": DIM,
                "vision_config": {**sizes, "projection_dim": DIM},
                "auto_map": {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyLLM2CLIP"},
            }
        )
    )
    record_llm2vec.build(folder / "text")
    return f"llm2clip:{vision}?text={folder / 'text'}"

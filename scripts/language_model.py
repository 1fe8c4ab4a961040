"""Writes the language model of a multimodal checkpoint into a folder of its own: language_model.py MODEL OUT.

The text model of Gemma 3 4B, for one, is published only with its vision tower. Embeddings, layers and head are copied
as they are; that both give the same logits is checked before the folder appears.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer, PreTrainedModel

from revision_plugin._common.folders import new_folder
from revision_plugin.errors import RevisionError, library_failures, one_line


def write_language_model(name: str, out: Path) -> None:
    """Write the text model of `name`, a folder or hub name, to the new folder `out`.

    Raises RevisionError where `name` has none, or where what was copied would answer otherwise.
    """
    with library_failures(f"{name}: does not load"):
        config = AutoConfig.from_pretrained(name)
        if not hasattr(config, "text_config"):
            raise RevisionError(f"{name}: a '{config.model_type}' has no language model inside; use it as it is")
        whole = AutoModelForImageTextToText.from_pretrained(name, dtype="auto").eval()
        text = AutoModelForCausalLM.from_config(config.text_config, dtype=whole.dtype).eval()
        own = next(child for child in text.children() if isinstance(child, PreTrainedModel))
        inner = next((module for module in whole.modules() if type(module) is type(own)), None)
        head = whole.get_output_embeddings()
        if inner is None or head is None:
            raise RevisionError(f"{name}: its language model is not transformers' own text model; nothing is written")
        own.load_state_dict(inner.state_dict())
        text.get_output_embeddings().load_state_dict(head.state_dict())
        text.generation_config = whole.generation_config
        tokens = torch.arange(8)[None]
        with torch.inference_mode():
            if not torch.allclose(text(input_ids=tokens).logits, whole(input_ids=tokens).logits):
                raise RevisionError(f"{name}: its language model answers otherwise alone; nothing is written")
        with new_folder(out) as folder:
            text.save_pretrained(folder)
            AutoTokenizer.from_pretrained(name).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", help="folder or hub name of a multimodal checkpoint")
    parser.add_argument("out", type=Path, help="new folder")
    arguments = parser.parse_args()
    with one_line():
        write_language_model(arguments.model, arguments.out)
        print(arguments.out)

"""Opens an exported folder as its receiver does, with transformers alone, and writes down what the model makes of some
questions. Run as a program of its own: `python open_folder.py FOLDER QUESTIONS.json OUT`.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor


def main(folder: str, questions: str, out: str) -> None:
    """For each of the questions, a list of {"image": FILE, "question": TEXT or null}: the prompt's token ids, the
    pixels, the logits and the greedy answer. `OUT.safetensors` holds `ids.N`, `pixels.N` and `logits.N`, `OUT.json` the
    answers.
    """
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    tensors: dict[str, torch.Tensor] = {}
    answers = []
    for index, each in enumerate(json.loads(Path(questions).read_text())):
        with Image.open(each["image"]) as opened:
            image = opened.convert("RGB")
        content = [{"type": "image", "image": image}]
        if each["question"] is not None:
            content.append({"type": "text", "text": each["question"]})
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits = model(**inputs).logits[0].float()
            said = model.generate(**inputs, max_new_tokens=each["max_new_tokens"])[0, inputs["input_ids"].shape[1] :]
        tensors |= {
            f"ids.{index}": inputs["input_ids"][0].contiguous(),
            f"pixels.{index}": inputs["pixel_values"][0].contiguous(),
            f"logits.{index}": logits.contiguous(),
        }
        answers.append(processor.tokenizer.decode(said, skip_special_tokens=True))
    save_file(tensors, f"{out}.safetensors")
    Path(f"{out}.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])

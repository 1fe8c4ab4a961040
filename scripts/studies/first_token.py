"""What must stand before the visual tokens in Stage 1: the loss of SmolLM2-135M with different first tokens.

`python -m scripts.studies.first_token --out OUT` trains the projector on the texts of the embedded world, from one
start, with each of them, and prints the mean loss of the last half of the steps with its range over seeds. Ours: the
papers' Llama 3 has a first token of its own, SmolLM2 has not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

from revision_plugin._common.files import read_object
from revision_plugin._common.markdown import table
from revision_plugin.aligners import ALIGNERS
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import MOST_SEED, whole
from revision_plugin.demo import corpus, world
from revision_plugin.demo.recipe import SMOLLM2
from revision_plugin.demo.smollm2 import export_smollm2
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError, one_line

NOTHING = "nothing"
TRAIN = """
import sys
from revision_plugin.hosts import tokenizers
token = sys.argv.pop(1)
def begin_with(tokenizer, _, original=tokenizers.begin_with):
    tokenizer.bos_token = None if token == {nothing!r} else token
    original(tokenizer, tokenizer.bos_token)
tokenizers.begin_with = begin_with
from revision_plugin.hosts.launch import main
main()
"""


def prepare(out: Path, texts: int) -> None:
    """The language model, a store of captions and an aligner."""
    export_smollm2(out / "llm")
    if (out / "aligner").exists():
        return
    encoder = load_encoder("demo")
    scenes = world.sample_scenes(texts, seed=1, held_out=False)
    corpus.write_corpus(out / "texts.json", corpus.caption_records(scenes))
    corpus.write_images(world.sample_scenes(texts // 4, seed=2, held_out=False), out / "pictures", seed=2)
    encode_texts(encoder, out / "texts.json", out / "texts")
    encode_images(encoder, out / "pictures", out / "images")
    ALIGNERS.get("realign")().fit(Store.open(out / "texts"), Store.open(out / "images")).save(out / "aligner")


def mean_loss(out: Path, token: str, seed: int, steps: int, batch: int) -> float:
    """The mean loss of the last half of a training with this first token, in nats a token."""
    folder = out / "runs" / f"{token.strip('<|>')}-{seed}"
    if not (folder / "mm_projector.bin").exists():
        command = [sys.executable, "-P", "-c", TRAIN.format(nothing=NOTHING), token]
        command += ["--model_name_or_path", out / "llm", "--data_path", out / "texts", "--output_dir", folder]
        command += ["--revision_aligner", out / "aligner", "--revision_encoder", "demo", "--vision_tower", "revision"]
        command += ["--version", "plain", "--tune_mm_mlp_adapter", "True", "--mm_projector_type", "mlp2x_gelu"]
        command += ["--mm_use_im_start_end", "False", "--mm_use_im_patch_token", "False", "--report_to", "none"]
        command += ["--max_steps", steps, "--per_device_train_batch_size", batch, "--seed", seed]
        command += ["--learning_rate", SMOLLM2.stage1_rate]
        command += ["--seed", seed, "--logging_steps", "1", "--save_strategy", "no", "--lr_scheduler_type", "cosine"]
        command += ["--lazy_preprocess", "True", "--warmup_ratio", "0.03", "--dataloader_num_workers", "0"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            raise RevisionError(f"the training with {token!r} first failed: {done.stderr.strip().splitlines()[-1]}")
    history = read_object(folder / "trainer_state.json")["log_history"]
    return fmean(entry["loss"] for entry in history if "loss" in entry and entry["step"] > steps // 2)


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings; a repeated command goes on")
    parser.add_argument("--tokens", nargs="+", default=[NOTHING, "<|im_start|>", "<|endoftext|>", "<|im_end|>", ","])
    parser.add_argument("--seeds", type=whole(0, MOST_SEED), nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=whole(2), default=40)
    parser.add_argument("--batch", type=whole(1), default=16)
    parser.add_argument("--texts", type=whole(8), default=1000)
    with one_line():
        a = parser.parse_args()
        prepare(a.out, a.texts)
        rows = []
        for token in a.tokens:
            losses = [mean_loss(a.out, token, seed, a.steps, a.batch) for seed in a.seeds]
            rows.append([f"`{token}`", f"{fmean(losses):.2f}", f"{min(losses):.2f} to {max(losses):.2f}"])
            print(json.dumps({"first": token, "losses": losses}), file=sys.stderr)
        print(table(["first token", f"loss, steps {a.steps // 2 + 1}-{a.steps}", "over seeds"], rows))


if __name__ == "__main__":
    main()

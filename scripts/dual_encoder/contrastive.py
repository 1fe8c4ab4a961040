"""Trains a dual encoder through open_clip: resumable, in one or several processes, with the gap monitor's log."""

from __future__ import annotations

import functools
import json
import logging
import math
import os
from dataclasses import asdict
from pathlib import Path

import torch
from open_clip.loss import ClipLoss
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch.utils.data import DataLoader

from revision_plugin._common.devices import choose_device
from revision_plugin._common.distributed import launched_processes, launched_rank
from revision_plugin._common.files import hash_file
from revision_plugin._common.folders import ClaimedFolder, new_folder
from revision_plugin._common.progress import track
from revision_plugin._common.trackers import Tracker
from revision_plugin.demo.tokenizer import build_encoder_tokenizer
from revision_plugin.errors import RevisionError
from revision_plugin.geometry.monitor import GapMonitor, cut_log, read_log
from revision_plugin.geometry.monitor_plot import plot_monitor
from scripts.dual_encoder.clip import bound_logit_scale, new_clip, new_optimizer, write_clip
from scripts.dual_encoder.dual_encoder_configs import Config
from scripts.dual_encoder.pair_batches import Batches, Pair, PairImages, read_pairs

logger = logging.getLogger(__name__)
CHECKPOINT, LOG, LOSSES = "checkpoint.pt", "monitor.jsonl", "losses.jsonl"
PROBE_BATCH = 256


def train_dual_encoder(
    config: Config,
    corpus: Path,
    image_folder: Path,
    out: Path,
    *,
    seed: int = 0,
    workers: int = 2,
    precision: str = "fp32",
    save_every: int = 100,
    device: str | None = None,
    tracker: Tracker | None = None,
) -> Path:
    """Train on the pairs of `corpus` into the folder `out`; a stopped run is resumed by the same call.

    The last `config.probe` pairs are held out for the monitor (never more than a fifth). `out` ends with `encoder/`
    (an open_clip folder, for `--encoder open_clip:OUT/encoder`), monitor.jsonl, losses.jsonl and figure2.png.
    Under torchrun the processes share each batch. A `tracker` draws what the monitor measures. Raises RevisionError for
    unusable data or a folder of another run.
    """
    rank, processes = launched_rank(), launched_processes()
    pairs = read_pairs(corpus, image_folder)
    held_out = min(config.probe, len(pairs) // 5)
    if held_out < 2:
        raise RevisionError(f"{corpus}: {len(pairs)} pairs are too few; give at least 10")
    settings = {"config": asdict(config), "corpus_hash": hash_file(corpus), "seed": seed, "precision": precision}
    claim = None
    if rank == 0:
        if (out / "encoder").exists():
            raise RevisionError(f"{out}: already holds a finished encoder; choose another --out")
        claim = ClaimedFolder(out, "run.json", settings)
    place = choose_device(device)
    if processes > 1:
        torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        parts = pairs[:-held_out], pairs[-held_out:]
        run = _Run(config, *parts, out, seed, workers, precision, place, rank, processes, tracker)
        run.train(save_every)
        if rank == 0:
            run.finish()
    finally:
        if processes > 1:
            torch.distributed.destroy_process_group()
        if claim:
            claim.close()
    return out


class _Run:
    def __init__(
        self,
        config: Config,
        pairs: list[Pair],
        probe: list[Pair],
        out,
        seed,
        workers,
        precision,
        device,
        rank,
        processes,
        tracker: Tracker | None,
    ):
        self.config, self.pairs, self.probe, self.out, self.seed = config, pairs, probe, out, seed
        self.workers, self.precision, self.device, self.rank, self.processes = (
            workers,
            precision,
            device,
            rank,
            processes,
        )
        self.tokenizer = _tokenizer(config)
        torch.manual_seed(seed)
        self.model = new_clip(config.model, logit_scale=config.logit_scale, output_dict=True).to(device)
        preprocess = PreprocessCfg(**{"size": config.model["vision_cfg"]["image_size"], **config.preprocess})
        self.transform, self.probe_transform = (
            image_transform_v2(preprocess, is_train=train) for train in (True, False)
        )
        self.optimizer = new_optimizer(
            self.model, rate=config.learning_rate, weight_decay=config.weight_decay, epsilon=1e-6
        )
        self.monitor = GapMonitor(
            self._embed_probe,
            out / LOG,
            every=config.every,
            freeze_step=config.freeze_step,
            gradient_batches=config.gradient_batches,
            tracker=tracker,
        )
        self.step = 0
        self._resume()
        if rank == 0:
            self.monitor.attach(self.model, self.optimizer)

    def _resume(self) -> None:
        path = self.out / CHECKPOINT
        if not path.exists():
            if self.rank == 0:  # what a run killed before its first checkpoint logged
                cut_log(self.out / LOG, -1)
                cut_log(self.out / LOSSES, -1)
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        if self.rank == 0:
            self.monitor.load_state_dict(state["monitor"])
            cut_log(self.out / LOSSES, self.step)
            logger.info("resumed at step %d", self.step)

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "monitor": self.monitor.state_dict(),
        }
        temporary = self.out / f".{CHECKPOINT}.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.out / CHECKPOINT)

    def train(self, save_every: int) -> None:
        model = self.model
        if self.processes > 1:
            model = torch.nn.parallel.DistributedDataParallel(model)
        distributed_options = {"local_loss": True, "gather_with_grad": True} if self.processes > 1 else {}
        loss_function = ClipLoss(rank=self.rank, world_size=self.processes, **distributed_options)
        keys = Batches(
            len(self.pairs),
            self.config.batch,
            seed=self.seed,
            start=self.step,
            steps=self.config.steps,
            rank=self.rank,
            processes=self.processes,
        )
        images = PairImages(self.pairs, self.transform, self.seed)
        loader = DataLoader(images, batch_sampler=keys, num_workers=self.workers, collate_fn=self._collate)
        model.train()
        with track("train", total=self.config.steps, unit="step", show=self.rank == 0) as advance:
            advance(self.step)
            for pixels, tokens in loader:
                for group in self.optimizer.param_groups:
                    group["lr"] = self._rate()
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                    features = model(pixels.to(self.device), tokens.to(self.device))
                    loss = loss_function(
                        features["image_features"].float(), features["text_features"].float(), features["logit_scale"]
                    )
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.step += 1
                self.optimizer.step()
                bound_logit_scale(self.model, self.config.highest_logit_scale)
                if self.rank == 0:
                    with open(self.out / LOSSES, "a", encoding="utf-8") as file:
                        file.write(json.dumps({"step": self.step, "loss": loss.item()}) + "\n")
                    if self.step % save_every == 0 or self.step == self.config.steps:
                        self._save()
                advance(1)

    def _rate(self) -> float:
        """Linear warmup, then a cosine to zero."""
        warmup = max(1, round(self.config.warmup * self.config.steps))
        if self.step < warmup:
            return self.config.learning_rate * (self.step + 1) / warmup
        return (
            self.config.learning_rate
            * 0.5
            * (1 + math.cos(math.pi * (self.step - warmup) / max(1, self.config.steps - warmup)))
        )

    def _collate(self, items):
        return torch.stack([pixels for pixels, _ in items]), self.tokenizer([caption for _, caption in items])

    @functools.cached_property  # decoded once: it is measured every few steps
    def _probe_batches(self) -> list:
        images = PairImages(self.probe, self.probe_transform, self.seed)
        batches = [
            [(i, i) for i in range(a, min(a + PROBE_BATCH, len(images)))] for a in range(0, len(images), PROBE_BATCH)
        ]
        return list(DataLoader(images, batch_sampler=batches, num_workers=self.workers, collate_fn=self._collate))

    def _embed_probe(self, model):
        """Unit-norm image and text embeddings [P, D] of the held-out pairs."""
        features = [
            (
                model.encode_image(pixels.to(self.device), normalize=True),
                model.encode_text(tokens.to(self.device), normalize=True),
            )
            for pixels, tokens in self._probe_batches
        ]
        return tuple(torch.cat(part) for part in zip(*features))

    def finish(self) -> None:
        """Write the open_clip folder and figure 2."""
        self.monitor.detach()
        title = (
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.1f}M parameters, {len(self.pairs)} "
            f"pairs, {self.config.steps} steps of {self.config.batch}"
        )
        plot_monitor(read_log(self.out / LOG), self.out, freeze_step=self.config.freeze_step, title=title)
        tokenizer = build_encoder_tokenizer() if self.config.word_tokenizer else None
        with new_folder(self.out / "encoder") as folder:
            write_clip(folder, self.model.state_dict(), self.config.model, self.config.preprocess, tokenizer)


def _tokenizer(config: Config):
    """A function of captions that gives token ids [n, context]."""
    length = config.model["text_cfg"]["context_length"]
    if not config.word_tokenizer:
        return SimpleTokenizer(context_length=length)
    tokenizer = build_encoder_tokenizer()
    return lambda texts: (
        tokenizer(texts, return_tensors="pt", padding="max_length", truncation=True, max_length=length).input_ids
    )

"""Stage 2 by views of an image: time of a step from a store of embeddings and from pixels, and of encoding an image.

Each run is the real training in a process of its own, on questions about the embedded world; rounds are interleaved, so
that other work on the machine falls on all of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.demo import corpus, world
from revision_plugin.demo.jobs import COMMON_FLAGS
from revision_plugin.demo.recipe import ENCODER
from revision_plugin.embeddings.encode import encode_images
from revision_plugin.encoders import load_encoder
from scripts.bench.machine import describe_machine
from scripts.bench.training_time import timed_training


def prepare(root: Path, images: int, specs: list[str]) -> dict[str, float]:
    """Questions, pictures and a store for each spec; the seconds each store took to encode."""
    scenes = world.sample_scenes(images, seed=1, held_out=False)
    names = corpus.write_images(scenes, root / "pictures", seed=1)
    corpus.write_corpus(root / "questions.json", corpus.question_records(scenes, names, seed=1))
    encoder, seconds = load_encoder(ENCODER), {}
    encode_images(encoder, root / "pictures", root / "warm-up")
    for spec in specs:
        started = time.perf_counter()
        encode_images(encoder, root / "pictures", store_of(root, spec), views=ImageViews.parse(spec))
        seconds[spec] = time.perf_counter() - started
    return seconds


def store_of(root: Path, spec: str) -> Path:
    return root / f"store-{spec.replace(':', '-')}"


def step_seconds(root: Path, spec: str, source: str, steps: int, batch: int, name: str) -> float:
    """Seconds a step of one Stage 2."""
    flags = [
        *COMMON_FLAGS,
        *("--version", "v1", "--model_name_or_path", world.ASSETS / "llm", "--revision_encoder", ENCODER),
        *("--data_path", root / "questions.json", "--revision_views", spec),
        *("--per_device_train_batch_size", batch, "--seed", 1),
    ]
    flags += ["--revision_image_store", store_of(root, spec)] if source == "store" else []
    flags += ["--image_folder", root / "pictures"] if source == "pixels" else []
    return timed_training(flags, root / name, steps)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", nargs="+", default=["1", "2x2:mask", "2x2:crop", "3x3:mask"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=400)
    a = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        encoding = prepare(root, a.images, a.views)
        times: dict[tuple[str, str], list[float]] = {}
        for turn in range(a.rounds):
            for spec in a.views:
                for source in ("store", "pixels"):
                    seconds = step_seconds(
                        root, spec, source, a.steps, a.batch, f"run-{turn}-{len(times)}-{spec}-{source}"
                    )
                    times.setdefault((spec, source), []).append(seconds)
        first = a.views[0]
        print(f"median of {a.rounds} rounds of {a.steps} steps, batches of {a.batch}")
        for spec in a.views:
            line = f"{spec:12s} encoding {encoding[spec] / a.images * 1000:6.1f} ms an image "
            line += f"({encoding[spec] / encoding[first]:.1f} x)"
            for source in ("store", "pixels"):
                step = median(times[spec, source])
                line += f", step from {source} {step:.3f} s ({step / median(times[first, source]):.2f} x)"
            print(line, flush=True)


if __name__ == "__main__":
    main()

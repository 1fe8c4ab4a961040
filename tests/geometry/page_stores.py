"""Measures what docs/geometry.md says of the embedded world, through the commands that a user types.

    python tests/geometry/page_stores.py OUT

writes the corpora, their stores, an aligner a method and the report under OUT, all that again in float32 for `bc`
alone, which rounding changes, and prints why it does: two minutes on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from revision_plugin.aligners import BlockwiseCovariance
from revision_plugin.aligners.covariances import directions
from revision_plugin.cli import main
from revision_plugin.demo import world
from revision_plugin.demo.corpus import caption_records, write_corpus, write_images
from revision_plugin.embeddings.store import Store
from revision_plugin.geometry.decomposition import Frame

TEXTS, IMAGES, PAIRS = 6000, 2000, 3000
NULL = 64  # directions that this encoder's texts do not use
RIDGES = (0, 3e-7, 1e-6, 1e-3)
METHODS = ("mean_shift", "c3", "realign", "bc", "aniso", "monge")


def write_data(data: Path) -> None:
    """Texts and unpaired images of training scenes, and pairs of held-out scenes."""
    texts, images = (world.sample_scenes(count, seed=seed, held_out=False) for seed, count in ((1, TEXTS), (2, IMAGES)))
    pairs = world.sample_scenes(PAIRS, seed=3, held_out=True, distinct=True)
    write_corpus(data / "texts.json", caption_records(texts))
    write_images(images, data / "images", seed=2)
    names = write_images(pairs, data / "pictures", seed=3)
    write_corpus(data / "pairs.json", caption_records(pairs, names))


def run(line: str, *paths: Path) -> None:
    """A command; `{}` in its line stands for a path."""
    print(f"revision {line}", flush=True)
    main([word.format(*paths) for word in line.split()])


def encode(out: Path, folder: Path, dtype: str) -> None:
    """The four stores of one dtype."""
    corpora = {
        "fit-texts": "--texts {0}/texts.json",
        "fit-images": "--images {0}/images",
        "texts": "--texts {0}/pairs.json",
        "images": "--images {0}/pairs.json --image-folder {0}/pictures",
    }
    for name, corpus in corpora.items():
        run(f"encode --encoder demo --dtype {dtype} {corpus} --out {{1}}/{name}", out / "data", folder)


def measure(folder: Path, methods: tuple[str, ...]) -> None:
    """An aligner a method, fitted on the unpaired stores, and the report on the pairs."""
    for method in methods:
        run(f"fit --source {{0}}/fit-texts --target {{0}}/fit-images --method {method} --out {{0}}/{method}", folder)
    aligners = " ".join(f"{{0}}/{method}" for method in methods)
    run(f"geometry --source {{0}}/texts --target {{0}}/images --pairs --aligner {aligners} --out {{0}}/report", folder)


def unit(store: Path) -> np.ndarray:
    """All rows [N, d] of a store, float64 and of unit norm."""
    rows = np.concatenate(list(Store.open(store).blocks(1000))).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def explain_rounding(out: Path) -> None:
    """What the rounding of stored texts, and of images, does to `bc`, measured on the pairs in float32."""
    names = ("fit-texts", "fit-images", "texts", "images")
    rows = {dtype: [unit(out / dtype / name) for name in names] for dtype in ("float16", "float32")}
    pairs, images = rows["float32"][2:]
    for texts_in, images_in in (("float16", "float16"), ("float16", "float32"), ("float32", "float16")):
        gap, trace = _outcome(rows[texts_in][0], rows[images_in][1], pairs, images, 0)
        print(f"bc fitted on texts in {texts_in}, images in {images_in}: gap {gap:.3f}, trace {trace:.3f}")
    for dtype, (source, target, *_) in rows.items():
        _explain(dtype, source, target)
        for ridge in RIDGES:
            gap, trace = _outcome(source, target, pairs, images, ridge)
            print(f"{dtype}, ridge {ridge:g}: gap {gap:.3f}, trace {trace:.3f}")


def _outcome(source: np.ndarray, target: np.ndarray, texts: np.ndarray, images: np.ndarray, ridge: float):
    moved = BlockwiseCovariance(ridge=ridge).fit(source, target, held_out=0).transform(texts)
    return np.linalg.norm(moved.mean(0) - images.mean(0)), np.square(moved - moved.mean(0)).sum(1).mean()


def _explain(dtype: str, source: np.ndarray, target: np.ndarray) -> None:
    """Variances of the texts and of the anchored texts in V, and how long `bc` makes their mean."""
    text, image = (np.cov(z.T, bias=True) for z in (source, target))
    tail = np.linalg.eigvalsh(text)
    anchored = source - source.mean(0) + target.mean(0)
    anchored /= np.linalg.norm(anchored, axis=1, keepdims=True)
    v = Frame.of(text, image).v
    values, vectors = directions(np.cov((anchored @ v).T, bias=True))
    mean = np.abs(vectors.T @ v.T @ anchored.mean(0))
    real = values > np.finfo(float).eps * values[0] * len(values)
    worst = int(np.argmax(np.where(real, mean / np.sqrt(np.where(real, values, 1)), 0)))
    linear = BlockwiseCovariance().fit(source, target, held_out=0).parameters["linear"]
    last = tail[:NULL].mean()
    print(f"{dtype}: the texts' last {NULL} directions of {len(tail)} have variances of {last:.2g} on average,")
    share = last * v.shape[1] / np.trace(v.T @ text @ v)
    print(f"  {share:.2g} of V's mean eigenvalue; {(tail < 1e-9).sum()} are below 1e-9")
    print(f"  anchored, the worst direction has variance {values[worst]:.2g} and mean {mean[worst]:.2g};")
    print(f"  mapped, the mean has length {np.linalg.norm(linear @ anchored.mean(0)):.3g}")


if __name__ == "__main__":
    where = Path(sys.argv[1])
    write_data(where / "data")
    for stored, compared in (("float16", METHODS), ("float32", ("bc",))):
        encode(where, where / stored, stored)
        measure(where / stored, compared)
    explain_rounding(where)

"""Times fitting ReAlign against a plain read of the same stores, and against four passes over pickled records.

The four passes are our own program after the behaviour of the authors' published script: records of one
array each in pickled parts, every pass loading, stacking and normalising all of them in float64; pass 1 means,
pass 2 traces, pass 3 the drifted mean, pass 4 the aligned records, saved.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from pathlib import Path

import numpy as np

from revision_plugin.aligners import ReAlign
from revision_plugin.aligners.apply import apply_aligner
from revision_plugin.corpora.pickles import load_plain_pickle
from revision_plugin.embeddings.float64_blocks import to_float64
from revision_plugin.embeddings.manifest import DTYPES
from revision_plugin.embeddings.rows import block_rows
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from scripts.bench.machine import best_of, describe_machine, measure

PART_ROWS, CHUNK_ROWS = 20000, 10000


def make_data(folder: Path, rows: int, dim: int, dtype: str) -> tuple[Store, Store]:
    """Two stores and the same rows as pickled parts, around two different directions."""
    stores = []
    for seed, modality in enumerate(("text", "image")):
        rng = np.random.default_rng(seed)
        direction = rng.normal(size=dim).astype(np.float32)
        encoder = {"spec": "external:bench", "fingerprint": "0" * 64}
        writer = StoreWriter(
            folder / modality, modality=modality, encoder=encoder, dim=dim, dtype=dtype, request={"rows": rows}
        )
        parts = folder / f"{modality}-pickles"
        parts.mkdir()
        for part, start in enumerate(range(0, rows, PART_ROWS)):
            count = min(PART_ROWS, rows - start)
            block = rng.normal(size=(count, dim)).astype(np.float32) + direction
            block = (block / np.linalg.norm(block, axis=1, keepdims=True)).astype(DTYPES[dtype])
            ids = [f"{start + i}" for i in range(count)]
            texts = [f"text {i}" for i in ids] if modality == "text" else ()
            writer.write_chunk(part, ids, block, texts=texts)
            records = [{"id": i, "caption": i, "embed": row.copy()} for i, row in zip(ids, block)]
            (parts / f"part_{part:04d}.pkl").write_bytes(pickle.dumps(records))
        stores.append(writer.finish(part + 1))
    return stores[0], stores[1]


def pickled_chunks(folder: Path):
    """Normalised float64 chunks of all parts, each pass from the files again."""
    for path in sorted(folder.glob("*.pkl")):
        matrix = np.vstack([np.asarray(record["embed"]) for record in load_plain_pickle(path)]).astype(np.float64)
        for start in range(0, len(matrix), CHUNK_ROWS):
            yield path, safe_unit(matrix[start : start + CHUNK_ROWS])


def safe_unit(x: np.ndarray) -> np.ndarray:
    """Row normalisation that guards against overflow, zeros and NaN."""
    x = np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    largest = np.abs(x).max(axis=1, keepdims=True)
    largest = np.where(largest > 0, largest, 1.0)
    norm = np.nan_to_num(largest * np.linalg.norm(x / largest, axis=1, keepdims=True))
    return x / np.where(norm < 1e-10, 1.0, norm)


def four_passes_statistics(folder: Path) -> dict:
    means, traces = {}, {}
    for name in ("text", "image"):
        total, count = 0.0, 0
        for _, chunk in pickled_chunks(folder / f"{name}-pickles"):
            total, count = total + chunk.sum(0), count + len(chunk)
        means[name] = total / count
    for name in ("text", "image"):
        total, count = 0.0, 0
        for _, chunk in pickled_chunks(folder / f"{name}-pickles"):
            centred = chunk - means[name]
            assert np.isfinite(centred).all()
            total, count = total + (centred**2).sum(), count + len(chunk)
        traces[name] = total / count
    scale = np.sqrt(traces["image"] / traces["text"])
    total, count = 0.0, 0
    for _, chunk in pickled_chunks(folder / "text-pickles"):
        moved = safe_unit((chunk - means["text"]) * scale + means["image"])
        assert np.isfinite(moved).all()
        total, count = total + moved.sum(0), count + len(moved)
    return {"means": means, "scale": scale, "drifted": total / count}


def fourth_pass(folder: Path, statistics: dict) -> None:
    out = folder / "aligned-pickles"
    out.mkdir(exist_ok=True)
    source, target = statistics["means"]["text"], statistics["means"]["image"]
    for path in sorted((folder / "text-pickles").glob("*.pkl")):
        records = load_plain_pickle(path)
        matrix = np.vstack([np.asarray(record["embed"]) for record in records]).astype(np.float64)
        parts = []
        for start in range(0, len(matrix), CHUNK_ROWS):
            chunk = safe_unit(matrix[start : start + CHUNK_ROWS])
            moved = safe_unit((chunk - source) * statistics["scale"] + target)
            parts.append(safe_unit(moved - statistics["drifted"] + target).astype(np.float32))
        aligned = np.vstack(parts)
        (out / path.name).write_bytes(pickle.dumps([{**r, "embed": aligned[i]} for i, r in enumerate(records)]))


def read_and_upcast(*stores: Store) -> None:
    """The plain way: numpy, every block to float64."""
    for store in stores:
        for block in store.blocks():
            block.astype(np.float64)


def read_and_upcast_in_torch(*stores: Store) -> None:
    """The fastest way found, with our own blocks and threads."""
    for store in stores:
        for block in store.blocks(block_rows(store.dim)):
            to_float64(block)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each modality")
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-pickles", action="store_true", help="leave the four-pass baseline out")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, image = make_data(folder, a.rows, a.dim, a.dtype)
        print(f"{a.rows} x {a.dim} {a.dtype} rows of each modality; {describe_machine()}")
        plain, fast, fit_run, reported = best_of(
            a.rounds,
            lambda: read_and_upcast(text, image),
            lambda: read_and_upcast_in_torch(text, image),
            lambda: ReAlign().fit(text, image, held_out=0),
            lambda: ReAlign().fit(text, image),
        )
        print(f"read both stores, astype(float64)             {plain.seconds:8.2f} s")
        print(f"read both stores, upcast in torch             {fast.seconds:8.2f} s")
        for label, run in (("fit", fit_run), ("fit with the held-out report", reported)):
            print(
                f"{label:45s} {run.seconds:8.2f} s  {run.seconds / plain.seconds:5.2f} x plain read, "
                f"{run.seconds / fast.seconds:5.2f} x torch read; own memory +{run.peak_megabytes:.0f} MB"
            )
        if a.without_pickles:
            return
        passes = measure(lambda: four_passes_statistics(folder))
        difference = np.abs(passes.result["drifted"] - drifted_mean(fit_run.result)).max()
        print(
            f"three statistics passes over pickles          {passes.seconds:8.2f} s  "
            f"{passes.seconds / fit_run.seconds:5.0f} x "
            f"our fit; own memory +{passes.peak_megabytes:.0f} MB; largest difference of the statistics "
            f"{difference:.1e}"
        )
        saved = measure(lambda: fourth_pass(folder, passes.result))
        applied = measure(lambda: apply_aligner(fit_run.result, text, folder / "aligned"))
        print(
            f"fourth pass, aligned pickles saved            {saved.seconds:8.2f} s  "
            f"{saved.seconds / applied.seconds:5.1f} x "
            f"our apply ({applied.seconds:.2f} s); own memory +{saved.peak_megabytes:.0f} MB, ours "
            f"+{applied.peak_megabytes:.0f} MB"
        )
        total_seconds = passes.seconds + saved.seconds
        print(
            f"all four passes                               {total_seconds:8.2f} s  "
            f"{total_seconds / fit_run.seconds:5.0f} x our fit, "
            "which training needs alone"
        )


def drifted_mean(aligner) -> np.ndarray:
    """mu' of ReAlign's third step, from the shift it gave."""
    return aligner.parameters["target_mean"] - aligner.parameters["centroid_shifts"][0]


if __name__ == "__main__":
    main()

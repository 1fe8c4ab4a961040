"""The papers' studies of alignment on a user's own stores: how many samples, which precision, which domain, how long
texts.

Each returns a JSON-able record; `curves` draws it. Run by `python -m scripts.studies`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from revision_plugin._common.progress import track
from revision_plugin.aligners import ALIGNERS
from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.rows import EveryNth
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError
from revision_plugin.geometry.neighbours import nearest, overlap
from revision_plugin.geometry.spectrum import effective_rank, eigenvalues
from scripts.bench.measured import measure

HELD_OUT_PERIOD = 5  # every fifth row is never fitted on
OVERLAP_ROWS = 3000


def sample_sizes(source: Store, target: Store, *, method: str = "realign", trials: int = 5, seed: int = 0) -> dict:
    """Held-out centroid gap against the number of rows a modality fitted on (ReVision, appendix E.1).

    N runs from 100 to all rows left for fitting, in steps of about 3, `trials` random draws each. `floor` is the gap
    that the held-out means' own sampling error leaves of a perfect map where the held-out rows are no pairs.
    """
    unseen = [stream_moments(EveryNth(store, HELD_OUT_PERIOD, chosen=True)) for store in (source, target)]
    floor = float(np.sqrt(sum(m.trace / m.count for m in unseen)))
    fitting_rows = [np.flatnonzero(np.arange(1, len(store) + 1) % HELD_OUT_PERIOD) for store in (source, target)]
    most, counts = min(map(len, fitting_rows)), []
    for power in range(2, 12):
        counts += [n for n in (10**power, 3 * 10**power) if n < most]
    if most < 100:
        raise RevisionError(
            f"a curve of sample sizes needs at least 125 rows a store, there are {min(len(source), len(target))}"
        )
    rng, curve = np.random.default_rng(seed), []
    with track("fits", total=trials * (len(counts) + 1), unit="fit") as advance:
        for count in [*counts, most]:
            gaps = []
            for trial in range(trials):
                rows = [
                    store.take(np.sort(rng.choice(i, count, replace=False)))
                    for store, i in zip((source, target), fitting_rows)
                ]
                aligner = ALIGNERS.get(method)().fit(*rows, seed=trial, held_out=0)
                moved = stream_moments(EveryNth(source, HELD_OUT_PERIOD, chosen=True), transform=aligner.mapping)
                gaps.append(float(np.linalg.norm(moved.mean - unseen[1].mean)))
                advance(1)
            curve.append(
                {"rows": count, "gap_mean": float(np.mean(gaps)), "gap_std": float(np.std(gaps)), "gaps": gaps}
            )
    return {"method": method, "held_out_rows": [m.count for m in unseen], "floor": floor, "curve": curve}


def precision(source: Store, target: Store, *, rounds: int = 20) -> dict:
    """The fitted centroid gap that float32 and float64 accumulators leave, by centroid round (ReVision, appendix E.2).

    The float32 side sums rows one after another in float32, as a running total does; the gap itself is measured in
    float64.
    """
    record = {}
    target_mean = stream_moments(target).mean
    for name, dtype in (("float32", np.float32), ("float64", np.float64)):
        statistics = [_running_mean(_unit_blocks(store, dtype), dtype) for store in (source, target)]
        (source_centroid, _), (target_centroid, _) = statistics
        trace = [1 - float(mean @ mean) for mean, _ in statistics]
        scale, shifts, gaps = np.sqrt(trace[1] / trace[0]), [], []
        for _ in range(rounds):
            drifted = _running_mean(
                (
                    _apply(x, source_centroid, target_centroid, scale, shifts, dtype)
                    for x in _unit_blocks(source, dtype)
                ),
                dtype,
            )[0]
            shifts.append(target_centroid - drifted)
            exact = [np.array(s, np.float64) for s in shifts]
            moved, count = np.zeros(source.dim), 0
            for x in _unit_blocks(source, np.float64):
                y = _apply(
                    x, source_centroid.astype(np.float64), target_centroid.astype(np.float64), scale, exact, np.float64
                )
                moved, count = moved + y.sum(0), count + len(y)
            gaps.append(float(np.linalg.norm(moved / count - target_mean)))
        record[name] = {"gap_by_round": gaps, "mean_error": float(np.linalg.norm(target_centroid - target_mean))}
    return {"rows": len(source), **record}


def _unit_blocks(store: Store, dtype):
    for block in store.blocks(4096):
        x = block.astype(dtype)
        yield x / np.linalg.norm(x, axis=1, keepdims=True)


def _running_mean(blocks, dtype) -> tuple[np.ndarray, int]:
    total, count = None, 0
    for x in blocks:
        start = x[:1] * 0 if total is None else total[None]
        total = np.add.accumulate(np.concatenate([start, x]), axis=0, dtype=dtype)[-1]  # row by row, no pairwise sum
        count += len(x)
    return total / dtype(count), count


def _apply(x, source_centroid, target_centroid, scale, shifts, dtype):
    y = (x - source_centroid) * dtype(scale) + target_centroid
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    for shift in shifts:
        y = y + shift
        y = y / np.linalg.norm(y, axis=1, keepdims=True)
    return y


def fit_times(source: Store, target: Store, *, methods: Sequence[str] = ("mean_shift", "realign")) -> dict:
    """Seconds to fit, and megabytes of memory it takes beyond the rows, against N, on the first N rows of both stores.

    Without the held-out report (ReVision, appendix E.4).
    """
    most = min(len(source), len(target))
    counts = [n for power in range(3, 12) for n in (10**power,) if n < most] + [most]
    seconds, megabytes = ({method: [] for method in methods} for _ in range(2))
    for count in counts:
        rows = [store.take(np.arange(count)) for store in (source, target)]
        for method in methods:
            run = measure(lambda method=method, rows=rows: ALIGNERS.get(method)().fit(*rows, held_out=0))
            seconds[method].append(run.seconds)
            megabytes[method].append(run.peak_megabytes)
    return {"rows": counts, "seconds": seconds, "megabytes": megabytes}


def domain_transfer(domains: dict[str, tuple[Store, Store]], *, method: str = "realign") -> dict:
    """Held-out centroid gap of each domain under each domain's statistics (ReVision, appendix E.3): fitted ->
    applied -> gap.
    """
    parts = {
        name: [(EveryNth(s, HELD_OUT_PERIOD, chosen=False), EveryNth(s, HELD_OUT_PERIOD, chosen=True)) for s in stores]
        for name, stores in domains.items()
    }
    gaps, before = {}, {}
    for fitted, ((texts, _), (images, _)) in parts.items():
        aligner = ALIGNERS.get(method)().fit(texts, images, held_out=0)
        gaps[fitted] = {}
        for applied, ((_, texts_there), (_, images_there)) in parts.items():
            target_mean = stream_moments(images_there).mean
            before[applied] = float(np.linalg.norm(stream_moments(texts_there).mean - target_mean))
            moved = stream_moments(texts_there, transform=aligner.mapping).mean
            gaps[fitted][applied] = float(np.linalg.norm(moved - target_mean))
    return {"method": method, "gap_before": before, "gap": gaps}


def caption_lengths(texts: dict[str, Store], target: Store, *, method: str = "realign") -> dict:
    """Raw gap, trace and effective rank of several text stores beside the target's, and the gap alignment leaves
    (appendix G).
    """
    target_moments = stream_moments(target, covariance=True)
    record = {
        "target": {
            "effective_rank": effective_rank(eigenvalues(target_moments.covariance)),
            "trace": target_moments.trace,
        }
    }
    for name, store in texts.items():
        text_moments = stream_moments(store, covariance=True)
        aligner = ALIGNERS.get(method)().fit(store, target)
        held = aligner.report.held_out
        record[name] = {
            "effective_rank": effective_rank(eigenvalues(text_moments.covariance)),
            "trace": text_moments.trace,
            "gap_before": float(np.linalg.norm(text_moments.mean - target_moments.mean)),
            "gap_held_out": (held or aligner.report).centroid_gap,
        }
    return record


def blockwise_failure(
    source: Store, target: Store, *, ridges: Sequence[float] = (0.0, 1e-6, 1e-4, 1e-2, 1e-1, 1.0)
) -> dict:
    """Held-out gap and kept neighbours (of 10) of `bc` at several ridges, beside `realign` (ReVision, appendix F)."""
    parts = [
        (EveryNth(s, HELD_OUT_PERIOD, chosen=False), EveryNth(s, HELD_OUT_PERIOD, chosen=True))
        for s in (source, target)
    ]
    (fitted, unseen), (images, images_unseen) = parts
    rows = np.concatenate(list(unseen.blocks(4096)))[:OVERLAP_ROWS].astype(np.float64)
    source_neighbours, target_mean = nearest(rows, 10), stream_moments(images_unseen).mean

    def measured(aligner) -> dict:
        moved = stream_moments(unseen, transform=aligner).mean
        return {
            "gap_held_out": float(np.linalg.norm(moved - target_mean)),
            "neighbourhood_overlap_10": overlap(source_neighbours, nearest(aligner.transform(rows), 10), 10),
        }

    record = {"realign": measured(ALIGNERS.get("realign")().fit(fitted, images, held_out=0))}
    for ridge in ridges:
        aligner = ALIGNERS.get("bc")(ridge=ridge).fit(fitted, images, held_out=0)
        record[f"bc, ridge {ridge:g}"] = measured(aligner)
    return record

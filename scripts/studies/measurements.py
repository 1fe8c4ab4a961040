"""ReVision's studies of how ReAlign's statistics are estimated, on a user's own stores: from how many samples, in what
time, for which domain (appendix E).

Each returns a JSON-able record; `curves` draws it. Run by `python -m scripts.studies`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from revision_plugin._common.progress import track
from revision_plugin.aligners import ALIGNERS
from revision_plugin.embeddings.moments import stream_moments
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError
from scripts.bench.measured import measure
from scripts.studies.held_out import PERIOD, fitted_and_unseen, row_counts


def sample_sizes(source: Store, target: Store, *, method: str = "realign", trials: int = 5, seed: int = 0) -> dict:
    """Held-out centroid gap against the number of rows a modality fitted on (ReVision, figure 7 and appendix E.1).

    N and the 5 trials are the paper's: 100, 500, 1000 and on to all rows left for fitting, drawn at random without
    replacement. Which rows are held out is ours, and so is `floor`, the gap that the held-out means' own sampling error
    leaves of a perfect map where the held-out rows are no pairs. The paper also shrinks covariances; ReAlign reads
    their traces alone, so there is nothing to shrink. Raises RevisionError for fewer than 125 rows a store.
    """
    if min(len(source), len(target)) < 125:
        raise RevisionError(
            f"a curve of sample sizes needs at least 125 rows a store, there are {min(len(source), len(target))}"
        )
    held_out = [fitted_and_unseen(store)[1] for store in (source, target)]
    unseen = [stream_moments(rows) for rows in held_out]
    floor = float(np.sqrt(sum(m.trace / m.count for m in unseen)))
    fitting_rows = [np.flatnonzero(np.arange(1, len(store) + 1) % PERIOD) for store in (source, target)]
    counts = row_counts(min(map(len, fitting_rows)))
    rng, curve = np.random.default_rng(seed), []
    with track("fits", total=trials * len(counts), unit="fit") as advance:
        for count in counts:
            gaps = []
            for trial in range(trials):
                rows = [
                    store.take(np.sort(rng.choice(i, count, replace=False)))
                    for store, i in zip((source, target), fitting_rows)
                ]
                aligner = ALIGNERS.get(method)().fit(*rows, seed=trial, held_out=0)
                moved = stream_moments(held_out[0], transform=aligner.mapping)
                gaps.append(float(np.linalg.norm(moved.mean - unseen[1].mean)))
                advance(1)
            curve.append(
                {"rows": count, "gap_mean": float(np.mean(gaps)), "gap_std": float(np.std(gaps)), "gaps": gaps}
            )
    return {"method": method, "seed": seed, "held_out_rows": [m.count for m in unseen], "floor": floor, "curve": curve}


def fit_times(source: Store, target: Store, *, methods: Sequence[str] = ("mean_shift", "realign")) -> dict:
    """Seconds to fit, and megabytes of memory it takes beyond the rows, against N, on the first N rows of both stores
    (ReVision, figure 8(b) and appendix E.2).

    Without the held-out report. The paper has ReAlign alone, from 100,000 rows to a million; mean shift beside it, and
    N from 1000 in steps of 10, are ours.
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
    """Held-out centroid gap of each domain under each domain's statistics: fitted -> applied -> gap (ReVision, figure 9
    and appendix E.3).

    The paper has two domains, general and medical; the gap without alignment beside them is ours.
    """
    parts = {name: [fitted_and_unseen(store) for store in stores] for name, stores in domains.items()}
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

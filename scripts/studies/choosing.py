"""Which quantities rank aligners without pairs as true pairs rank them, and whether `--method auto` chooses well.

`python -m scripts.studies.choosing --out OUT` compares aligners on unpaired captions and pictures of the embedded world
as `revision fit --method auto` does, measures the mean cosine of held-out true pairs under each, and writes
OUT/choosing.json and OUT/choosing.md. The pairs serve the measuring alone: no quantity and no choice sees them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from revision_plugin._common.folders import require_free
from revision_plugin._common.markdown import table
from revision_plugin._common.progress import track
from revision_plugin.aligners import Aligner
from revision_plugin.aligners.auto import CANDIDATES, DEFAULT, compare, read_candidates
from revision_plugin.aligners.criteria import FLOORS, SMALLER_IS_BETTER
from revision_plugin.aligners.matching import mutual_matches
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import whole
from revision_plugin.demo import world
from revision_plugin.encoders import Encoder, load_encoder
from revision_plugin.errors import RevisionError, one_line
from scripts.studies.monge_limits import (
    ENCODERS,
    IMAGES,
    MATCHED,
    PAIRS,
    TEXTS,
    UPPER,
    UPPER_IMAGES,
    captions,
    in_upper_half,
    pictures,
    training_scenes,
)
from scripts.studies.study_page import write_study

OBJECTS = "half the objects"
ROWS = (0.5, 2.0, 10.0, 50.0)  # a dimension
NEAR = 0.001  # of cosine: as good as the best
REFITTED = ("mean_shift", DEFAULT, "monge", "monge shrinkage=0.9")  # on the encoder's matches alone
AUTO = "auto"


def of_half_the_objects(scene: world.Scene) -> bool:
    return all(index < len(world.object_names()) // 2 for index, _ in scene.objects)


CONTENTS: dict[str, Callable[[world.Scene], bool]] = {
    MATCHED: lambda scene: True,
    UPPER: in_upper_half,
    OBJECTS: of_half_the_objects,
}


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [n, d] in float64, of unit norm to its last digits."""
    rows = rows.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def corpora(encoder: Encoder, seed: int, counts: dict[str, int], pairs: int) -> dict[str, np.ndarray]:
    """Embeddings of one seed: `texts`, images under the name of their content, and the held-out pairs."""
    numbers = [4 * seed + each for each in (TEXTS, IMAGES, PAIRS, UPPER_IMAGES)]
    held_out = world.sample_scenes(pairs, seed=numbers[2], held_out=True, distinct=True)
    rows = {
        "texts": captions(encoder, training_scenes(max(counts.values()), numbers[0])),
        "true texts": captions(encoder, held_out),
        "true images": pictures(encoder, held_out, [numbers[2]]),
    }
    for content, count in counts.items():
        stream = numbers[1] if content == MATCHED else numbers[3]
        rows[content] = pictures(encoder, training_scenes(count, stream, keep=CONTENTS[content]), [stream])
    return {name: unit(each) for name, each in rows.items()}


def measure(rows: dict[str, np.ndarray], content: str, count: int, names: Iterable[str], seed: int) -> dict:
    """One cell: the choice with all quantities, and under every candidate the mean cosine of the true pairs, also of
    some that are fitted on the encoder's matches alone.
    """
    source, target = rows["texts"][:count], rows[content][:count]
    aligners = read_candidates(list(names))
    choice = compare(aligners, source, target, seed=seed, device=torch.device("cpu"), show=False)

    def cosine(aligner: Aligner, texts: np.ndarray, images: np.ndarray) -> float:
        moved = aligner.fit(texts, images, seed=seed, held_out=0).transform(rows["true texts"])
        return float(np.einsum("ij,ij->i", moved, rows["true images"]).mean())

    texts, images = mutual_matches(source, target)
    refitted = read_candidates(list(REFITTED))
    return {
        "choice": choice,
        "cosine": {name: cosine(aligner, source, target) for name, aligner in aligners.items()},
        "matched_rows": len(texts),
        "cosine_of_matched": {n: cosine(each, source[texts], target[images]) for n, each in refitted.items()},
    }


def agreement(cells: list[dict], scores: Callable[[dict], dict[str, float]]) -> dict[str, float]:
    """How candidates' `scores` (more is better) follow the pairs over cells: mean Spearman correlation, of cells where
    scores differ; how often the first is within 0.001 cosine of the best; mean and largest regret.
    """
    correlations, regrets = [], []
    for cell in cells:
        cosines, score = cell["cosine"], scores(cell)
        values = [score[name] for name in cosines]
        if np.ptp(values) > 0:
            correlations.append(spearmanr(values, list(cosines.values())).statistic)
        chosen = max(cosines, key=lambda name: (score[name], name == DEFAULT))
        regrets.append(max(cosines.values()) - cosines[chosen])
    return {"spearman": float(np.mean(correlations)) if correlations else 0.0, **summary(regrets)}


def summary(regrets: list[float]) -> dict[str, float]:
    near = float(np.mean([regret <= NEAR for regret in regrets]))
    return {"near": near, "regret": float(np.mean(regrets)), "largest": float(max(regrets))}


def regret_of_auto(cell: dict) -> float:
    """What `fit --method auto` loses to the best candidate; below zero where its fit on matched rows beats all."""
    choice = cell["choice"]
    fitted = cell["cosine_of_matched"] if choice["other_content"] else cell["cosine"]
    return max(cell["cosine"].values()) - fitted[choice["chosen"]]


def rankings(cells: list[dict]) -> dict[str, Callable[[dict], dict[str, float]]]:
    """Every quantity as a score; each candidate alone as a score of one."""
    first = next(iter(cells[0]["choice"]["candidates"].values()))
    found: dict[str, Callable[[dict], dict[str, float]]] = {}
    for key in first:
        if key not in FLOORS:
            sign = -1 if key in SMALLER_IS_BETTER else 1
            found[key] = lambda cell, k=key, s=sign: {n: s * v[k] for n, v in cell["choice"]["candidates"].items()}
    for name in cells[0]["cosine"]:
        found[f"always {name}"] = lambda cell, n=name: {each: float(each == n) for each in cell["cosine"]}
    return found


def page(cells: list[dict]) -> str:
    """Three tables: agreement with the pairs, the content test, and fits on the encoder's matches alone."""
    contents = list(dict.fromkeys(cell["images"] for cell in cells))
    groups = {name: [cell for cell in cells if cell["images"] == name] for name in contents}
    groups = {MATCHED: groups[MATCHED], "other content": [c for c in cells if c["images"] != MATCHED]}
    lines = []
    measured = {AUTO: [summary([regret_of_auto(cell) for cell in group]) for group in groups.values()]}
    for name, scores in rankings(cells).items():
        measured[name] = [agreement(group, scores) for group in groups.values()]
    for name, of_groups in measured.items():
        cells_of_line = [name.replace("_", " ")]
        for a in of_groups:
            ranks = "spearman" in a and not name.startswith("always ")
            cells_of_line += [f"{a['spearman']:+.2f}" if ranks else "", f"{a['near']:.0%}"]
            cells_of_line.append(f"{a['regret']:.4f} ({a['largest']:.4f})")
        lines.append(cells_of_line)
    heads = [f"{name}: {what}" for name, what in product(groups, ("Spearman", "within .001", "regret (largest)"))]
    shifts, remedy = [], []
    for key in dict.fromkeys((c["logit_scale"], c["images"], c["rows_per_dimension"]) for c in cells):
        same = [c for c in cells if (c["logit_scale"], c["images"], c["rows_per_dimension"]) == key]
        named = [key[0], key[1], f"{key[2]:g}"]
        found = [c["choice"]["other_content"] for c in same]
        chosen = ", ".join(dict.fromkeys(c["choice"]["chosen"] for c in same))
        best = ", ".join(dict.fromkeys(max(c["cosine"], key=c["cosine"].get) for c in same))
        shifts.append([*named, f"{sum(found)} of {len(found)}", chosen, best])
        values = [f"{np.mean([max(c['cosine'].values()) for c in same]):.4f}"]
        for name in REFITTED:
            both = (np.mean([c[k].get(name, np.nan) for c in same]) for k in ("cosine", "cosine_of_matched"))
            values.append("{:.4f}, {:.4f}".format(*both))
        remedy.append([*named, f"{np.mean([c['matched_rows'] for c in same]):.0f}", *values])
    cell = ["logit scale", "images", "rows a dimension"]
    return "\n\n".join(
        [
            table(["quantity", *heads], lines),
            table([*cell, "found to differ", "chosen", "best by pairs"], shifts),
            table([*cell, "matched rows", "best candidate", *(f"{n}: all, matched" for n in REFITTED)], remedy),
        ]
    )


def study(scales: list[str], seeds: int, rows: list[float], pairs: int, names: list[str]) -> list[dict]:
    """All cells; of half the objects with every second number of rows alone."""
    rows = sorted(set(rows))
    plan = {MATCHED: rows, UPPER: rows, OBJECTS: rows[::2]}
    cells = []
    total = len(scales) * seeds * sum(map(len, plan.values()))
    with track("cells", total=total, unit="cell") as advance:
        for scale, seed in product(scales, range(seeds)):
            encoder = load_encoder(ENCODERS[scale])
            most = {content: round(max(of_content) * encoder.dim) for content, of_content in plan.items()}
            embedded = corpora(encoder, seed, most, pairs)
            for content, of_content in plan.items():
                for each in of_content:
                    cell = measure(embedded, content, round(each * encoder.dim), names, seed)
                    setting = {"logit_scale": scale, "images": content, "rows_per_dimension": each, "seed": seed}
                    cells.append({**setting, **cell})
                    advance(1)
    return cells


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS), help="by logit scale")
    parser.add_argument("--seeds", type=whole(1, 1000), default=2, help="corpora and held-out pairs, drawn anew")
    parser.add_argument("--rows", type=float, nargs="+", default=list(ROWS), help="rows a dimension, of each corpus")
    parser.add_argument("--pairs", type=whole(2), default=600, help="held-out pairs a seed")
    parser.add_argument("--aniso", action="store_true", help="compare AnisoAlign too, which takes hours")
    with one_line():
        a = parser.parse_args()
        if not all(0.2 <= r <= 100 for r in a.rows):
            raise RevisionError("--rows must lie between 0.2 and 100 rows a dimension")
        require_free(a.out)
        logging.getLogger("revision_plugin.aligners").setLevel(logging.ERROR)  # few rows are what is studied
        names = [*CANDIDATES, *(["aniso"] if a.aniso else [])]
        cells = study(list(dict.fromkeys(a.encoders)), a.seeds, a.rows, a.pairs, names)
        record = {"seeds": a.seeds, "pairs": a.pairs, "cells": cells}
        write_study(a.out, "choosing", record, lambda: page(cells))


if __name__ == "__main__":
    main()

"""What each component of AnisoAlign does on the embedded world, and what its prior learns there.

`python -m scripts.studies.aniso_ablation --out OUT` fits on unpaired captions and pictures, measures the mean cosine of
held-out true pairs and the gap between their centroids, and writes OUT/aniso_ablation.json and OUT/aniso_ablation.md.
The pairs serve the measuring alone. AnisoAlign's own ablation (table 4) is by benchmark accuracy after fully text-only
training; components, corpora and both measures are chosen here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from revision_plugin._common.folders import require_free
from revision_plugin._common.markdown import table
from revision_plugin._common.progress import track
from revision_plugin.aligners import ALIGNERS, Aligner, AnisoAlign
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import whole
from revision_plugin.demo import world
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import one_line
from scripts.studies.monge_limits import ENCODERS, IMAGES, PAIRS, TEXTS, captions, interval, pictures, training_scenes
from scripts.studies.study_page import write_study

DEFAULT, INITIAL = "aniso", "global initialisation alone"
OTHERS = ("none", "mean_shift", "realign")
OUT = {  # options that leave a component out
    "global initialisation": {"quantile_map": False, "v_scaling": False},
    "quantile map of the radii": {"quantile_map": False},
    "D_V, the scales of V": {"v_scaling": False},
    "stage II with its prior": {"refinement": False},
    "phase structure (L_Phi)": {"phase_loss": False},
    "calibration": {"recentring": False},
}
IN = {  # options that put one in that the defaults leave out
    "mixing, a random rotation": {"mixing": True},
    "stage II at full bounds": {"prior_scaling": False},
}


def measure(scale: str, seed: int, rows: int, pairs: int, steps: int) -> dict:
    """One corpus of each modality and its held-out pairs: cosine and gap of every aligner and variant, the prior."""
    encoder, numbers = load_encoder(ENCODERS[scale]), [4 * seed + each for each in (TEXTS, IMAGES, PAIRS)]
    source = captions(encoder, training_scenes(rows, numbers[0]))
    target = pictures(encoder, training_scenes(rows, numbers[1]), [numbers[1]])
    held_out = world.sample_scenes(pairs, seed=numbers[2], held_out=True, distinct=True)
    texts, images = captions(encoder, held_out), pictures(encoder, held_out, [numbers[2]])

    def measured(aligner: Aligner) -> dict[str, float]:
        moved = aligner.transform(texts)
        gap = np.linalg.norm(moved.mean(0) - images.mean(0))
        return {"cosine": float(np.einsum("ij,ij->i", moved, images).mean()), "gap": float(gap)}

    def fitted(**options: bool) -> AnisoAlign:
        return AnisoAlign(steps=steps, **options).fit(source, target, seed=seed, held_out=0)

    whole_method = fitted()
    aligners = {name: measured(ALIGNERS.get(name)().fit(source, target, held_out=0)) for name in OTHERS}
    variants = {name: measured(fitted(**options)) for name, options in (OUT | IN).items()}
    aligners |= {INITIAL: variants["stage II with its prior"], DEFAULT: measured(whole_method)}
    record = {"logit_scale": scale, "seed": seed, "aligners": aligners, "variants": variants}
    return record | {"prior": whole_method.report.details["prior"]}


def summary(measured: list[dict], value: Callable[[dict], float]) -> str:
    """Mean and 95 % interval over the seeds of one value a record."""
    return "{:+.4f} ± {:.4f}".format(*interval(np.array([value(each) for each in measured])))


def page(records: list[dict]) -> str:
    """Three tables: the aligners' cosines, what leaving components out changes, and what the prior has learnt."""
    scales = list(dict.fromkeys(each["logit_scale"] for each in records))
    of_scale = {scale: [each for each in records if each["logit_scale"] == scale] for scale in scales}
    names = [*OTHERS, INITIAL, DEFAULT]
    cosines = [
        [scale, *(summary(of_scale[scale], lambda r, n=name: r["aligners"][n]["cosine"]).lstrip("+") for name in names)]
        for scale in scales
    ]
    changes = []
    for name in OUT | IN:
        cells = [f"{'without' if name in OUT else 'with'} {name}"]
        for key, scale in product(("cosine", "gap"), scales):
            cells.append(
                summary(of_scale[scale], lambda r, n=name, k=key: r["variants"][n][k] - r["aligners"][DEFAULT][k])
            )
        changes.append(cells)
    priors = [
        [
            scale,
            summary(of_scale[scale], lambda r: r["prior"]["held_out_loss"] / r["prior"]["zero_score"]).lstrip("+"),
            summary(of_scale[scale], lambda r: r["prior"]["source_loss"] / r["prior"]["source_zero_score"]).lstrip("+"),
            summary(of_scale[scale], lambda r: r["prior"]["strength"]).lstrip("+"),
        ]
        for scale in scales
    ]
    heads = [f"{key}, scale {scale}" for key, scale in product(("cosine", "gap"), scales)]
    return "\n\n".join(
        [
            table(["logit scale", *names], cosines),
            table(["change", *heads], changes),
            table(["logit scale", "loss on held-out images", "loss on texts", "strength of stage II"], priors),
        ]
    )


def study(scales: list[str], seeds: int, rows: int, pairs: int, steps: int, processes: int) -> list[dict]:
    """A record for every encoder and seed, in their order."""
    tasks = [(scale, seed, rows, pairs, steps) for seed in range(seeds) for scale in scales]
    with track("corpora", total=len(tasks), unit="task") as advance:
        if processes == 1:
            records = []
            for task in tasks:
                records.append(measure(*task))
                advance(1)
        else:
            spawn = get_context("spawn")
            with ProcessPoolExecutor(processes, spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                waiting = [pool.submit(measure, *task) for task in tasks]
                for each in as_completed(waiting):
                    each.result()
                    advance(1)
                records = [each.result() for each in waiting]
    return sorted(records, key=lambda each: (scales.index(each["logit_scale"]), each["seed"]))


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS), help="by logit scale")
    parser.add_argument(
        "--seeds", type=whole(2, 1000), default=3, help="corpora and held-out pairs, drawn anew for each"
    )
    parser.add_argument("--rows", type=whole(20), default=3000, help="of each corpus")
    parser.add_argument("--pairs", type=whole(2), default=600, help="held-out pairs a seed")
    parser.add_argument("--steps", type=whole(1), default=AnisoAlign().steps, help="of each training")
    parser.add_argument("--processes", type=whole(1, 256), default=1)
    with one_line():
        a = parser.parse_args()
        require_free(a.out)
        records = study(list(dict.fromkeys(a.encoders)), a.seeds, a.rows, a.pairs, a.steps, a.processes)
        settings = {"seeds": a.seeds, "rows": a.rows, "pairs": a.pairs, "steps": a.steps}
        write_study(a.out, "aniso_ablation", {**settings, "records": records}, lambda: page(records))


if __name__ == "__main__":
    main()

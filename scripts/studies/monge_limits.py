"""When the Monge map beats ReAlign on the embedded world, and when it does not: few rows, and corpora of other content.

`python -m scripts.studies.monge_limits --out OUT` fits both on unpaired captions and pictures, measures the mean cosine
of held-out true pairs, and writes OUT/monge_limits.json and OUT/monge_limits.md. The pairs serve the measuring alone.
The map and this study are ours: no paper has them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import t
from sklearn.covariance import ledoit_wolf_shrinkage, oas

from revision_plugin._common.folders import require_free
from revision_plugin._common.markdown import table
from revision_plugin._common.progress import track
from revision_plugin.aligners import Aligner, Monge, ReAlign
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import whole
from revision_plugin.demo import world
from revision_plugin.encoders import Encoder, load_encoder
from revision_plugin.errors import RevisionError, one_line
from scripts.studies.study_page import write_study

OTHERS = Path(__file__).parents[1] / "claims" / "encoders"
ENCODERS = {"16": "demo", "8": f"open_clip:{OTHERS / 'scale-8'}", "40": f"open_clip:{OTHERS / 'scale-40'}"}  # by scale
FIXED: dict[str, Aligner] = {
    "realign": ReAlign(),
    "monge": Monge(),
    "blend .5": Monge(blend=0.5),
    "shrinkage .01": Monge(shrinkage=0.01),
    "shrinkage .9": Monge(shrinkage=0.9),
}
ESTIMATED = ("ledoit-wolf", "oas")  # as they are, not raised for few rows
ROWS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # a dimension
MATCHED, UPPER = "matched", "upper half"
TEXTS, IMAGES, UPPER_IMAGES, PAIRS = range(4)  # streams of random numbers
BATCH = 256


def captions(encoder: Encoder, scenes: list[world.Scene]) -> np.ndarray:
    """Embeddings [N, D] of the scenes' captions."""
    return encoder.encode_texts([world.caption(scene) for scene in scenes]).numpy()


def pictures(encoder: Encoder, scenes: list[world.Scene], seed: list[int]) -> np.ndarray:
    """Embeddings [N, D] of pictures of the scenes; picture i depends on `seed` and i alone."""
    rows = []
    for start in range(0, len(scenes), BATCH):
        part = enumerate(scenes[start : start + BATCH], start)
        drawn = [Image.fromarray(world.render(scene, np.random.default_rng([*seed, i]))) for i, scene in part]
        rows.append(encoder.encode_pixels(encoder.image_processor.preprocess(drawn)["pixel_values"]).numpy())
    return np.concatenate(rows)


def in_upper_half(scene: world.Scene) -> bool:
    """Whether all objects lie in the upper half."""
    return all(quadrant < 2 for _, quadrant in scene.objects)


def training_scenes(
    count: int, seed: int, *, keep: Callable[[world.Scene], bool] = lambda scene: True
) -> list[world.Scene]:
    """Scenes of the training part, those alone that `keep` keeps."""
    drawn = count
    while True:
        scenes = world.sample_scenes(drawn, seed=seed, held_out=False)
        chosen = [scene for scene in scenes if keep(scene)]
        if len(chosen) >= count:
            return chosen[:count]
        drawn *= 2


def estimated(*corpora: np.ndarray) -> dict[str, Aligner]:
    """Monge with the larger coefficient of the corpora as scikit-learn estimates it."""
    coefficients = [
        max(ledoit_wolf_shrinkage(rows) for rows in corpora),
        max(oas(rows)[1] for rows in corpora),
    ]
    return {name: Monge(shrinkage=float(value)) for name, value in zip(ESTIMATED, coefficients)}


def measure(encoder: Encoder, seed: int, rows: Iterable[float], content: str, pairs: int) -> list[dict]:
    """For each number of rows a dimension: the mean cosine of `pairs` held-out pairs under every aligner."""
    counts = {r: round(r * encoder.dim) for r in rows}
    stream = {MATCHED: IMAGES, UPPER: UPPER_IMAGES}[content]
    numbers = [4 * seed + each for each in (TEXTS, stream, PAIRS)]
    texts = captions(encoder, training_scenes(max(counts.values()), numbers[0]))
    image_scenes = training_scenes(
        max(counts.values()), numbers[1], **({"keep": in_upper_half} if content == UPPER else {})
    )
    images = pictures(encoder, image_scenes, [numbers[1]])
    held_out = world.sample_scenes(pairs, seed=numbers[2], held_out=True, distinct=True)
    true_texts, true_images = captions(encoder, held_out), pictures(encoder, held_out, [numbers[2]])
    measured = []
    for r, count in counts.items():
        corpora = texts[:count].astype(np.float64), images[:count].astype(np.float64)
        cosines, shrinkage = {}, {}
        for name, aligner in {**FIXED, **estimated(*corpora)}.items():
            aligner.fit(*corpora, held_out=0)
            cosines[name] = float(np.einsum("ij,ij->i", aligner.transform(true_texts), true_images).mean())
            if isinstance(aligner, Monge):
                shrinkage[name] = aligner.report.details["shrinkage_used"]
        measured.append({"rows_per_dimension": r, "seed": seed, "cosine": cosines, "shrinkage": shrinkage})
    return measured


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean of one value a seed, and half the width of its 95 % interval (Student's t)."""
    spread = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(spread)


def summary(measured: list[dict]) -> dict:
    """Over the seeds of one setting: ReAlign's cosine, each other aligner's gain over it, and its mean shrinkage."""
    cosines = {name: np.array([each["cosine"][name] for each in measured]) for name in (*FIXED, *ESTIMATED)}
    gains = {name: interval(values - cosines["realign"]) for name, values in cosines.items() if name != "realign"}
    shrinkage = {name: float(np.mean([each["shrinkage"][name] for each in measured])) for name in gains}
    return {"realign": interval(cosines["realign"]), "gain": gains, "shrinkage": shrinkage}


def page(settings: list[dict]) -> str:
    """Two tables, a line a setting: the aligners' gains over ReAlign, and those of the estimated coefficients."""
    tables = []
    for names in (list(FIXED)[1:], ["monge", *ESTIMATED]):
        lines = []
        for each in settings:
            gain, shrinkage = each["summary"]["gain"], each["summary"]["shrinkage"]
            cells = [each["logit_scale"], each["images"], f"{each['rows_per_dimension']:g}"]
            if names[-1] in ESTIMATED:
                cells += [f"{shrinkage[name]:.3f}" for name in names]
            else:
                cells.append(f"{each['summary']['realign'][0]:.4f}")
            lines.append([*cells, *("{:+.4f} ± {:.4f}".format(*gain[name]) for name in names)])
        first = [f"shrinkage: {name}" for name in names] if names[-1] in ESTIMATED else ["realign"]
        tables.append(table(["logit scale", "images", "rows a dimension", *first, *names], lines))
    return "\n\n".join(tables)


def study(seeds: int, rows: list[float], pairs: int) -> list[dict]:
    """All settings: every number of rows with the shipped encoder, every second with the others and other content."""
    rows = sorted(set(rows))
    few = rows[::2]
    plan = [("16", MATCHED, rows), ("16", UPPER, few), ("8", MATCHED, few), ("40", MATCHED, few)]
    settings = []
    with track("corpora", total=len(plan) * seeds, unit="task") as advance:
        for scale, content, counts in plan:
            encoder, measured = load_encoder(ENCODERS[scale]), []
            for seed in range(seeds):
                measured += measure(encoder, seed, counts, content, pairs)
                advance(1)
            for r in counts:
                of_count = [each for each in measured if each["rows_per_dimension"] == r]
                setting = {"logit_scale": scale, "images": content, "rows_per_dimension": r}
                settings.append({**setting, "summary": summary(of_count), "seeds": of_count})
    return settings


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--seeds", type=whole(2, 1000), default=5, help="corpora and held-out pairs, drawn anew for each"
    )
    parser.add_argument("--rows", type=float, nargs="+", default=list(ROWS), help="rows a dimension, of each corpus")
    parser.add_argument("--pairs", type=whole(2), default=600, help="held-out pairs a seed")
    with one_line():
        a = parser.parse_args()
        if not all(0.05 <= r <= 1000 for r in a.rows):
            raise RevisionError("--rows must lie between 0.05 and 1000 rows a dimension")
        require_free(a.out)
        logging.getLogger("revision_plugin.aligners").setLevel(logging.ERROR)  # few rows are what is studied
        settings = study(a.seeds, a.rows, a.pairs)
        record = {"seeds": a.seeds, "pairs": a.pairs, "settings": settings}
        write_study(a.out, "monge_limits", record, lambda: page(settings))


if __name__ == "__main__":
    main()

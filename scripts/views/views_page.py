"""Writes views-measured.md, and beside it report.html, from a run's results."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np

from revision_plugin._common.files import write_text
from revision_plugin._common.markdown import table
from revision_plugin.corpora.image_views import ImageViews
from revision_plugin.demo import world
from revision_plugin.demo.questions import KINDS, questions
from revision_plugin.demo.recipe import HELD_OUT_SEED, QUICK, Recipe
from scripts.claims.comparison import bootstrap
from scripts.views.views_html import views_html
from scripts.views.views_plan import BASE, BEST, CLAUSED, VARIANTS, VIEWS, Variant

PAGE, HTML = "views-measured.md", "report.html"
# what is compared, in pairs: the first against the second
NAMED_AND_WHOLES = "monge + clauses, empty parts named, 50% wholes alone, 2x2:mask"
QUESTIONS = [
    ("five views against one vector", VIEWS, BASE),
    ("clauses and monge, too, against one vector", CLAUSED, BASE),
    ("empty parts named, too, against one vector", BEST, BASE),
    ("that against views in Stage 2 alone", BEST, VIEWS),
    ("that against clauses and monge", BEST, CLAUSED),
    ("clauses and monge against views in Stage 2 alone", CLAUSED, VIEWS),
    ("half the captions as wholes against none", "monge + clauses, 50% wholes alone, 2x2:mask", CLAUSED),
    ("half as wholes against none, empty parts named", NAMED_AND_WHOLES, BEST),
    ("monge against ReAlign, one vector", "monge, 1", BASE),
    ("monge against ReAlign, views in Stage 2 alone", "monge, 2x2:mask", VIEWS),
    ("monge against ReAlign, with clauses", CLAUSED, "realign + clauses, 2x2:mask"),
    (
        "monge against ReAlign, empty parts named and half as wholes",
        NAMED_AND_WHOLES,
        "realign + clauses, empty parts named, 50% wholes alone, 2x2:mask",
    ),
    ("pairs against text in Stage 1, one vector each", "paired, 2x2:mask", VIEWS),
    ("without Stage 1 against with it", "without, 2x2:mask", VIEWS),
    ("crop against mask", "realign, 2x2:crop", VIEWS),
    ("masks that overlap by a quarter against none", "realign, 2x2:mask:0.25", VIEWS),
    ("3x3 against 2x2", "realign, 3x3:mask", VIEWS),
]


def write_page(
    records: list[dict], captions: dict[str, list[dict]], recipe: Recipe, folder: Path, machine: str
) -> Path:
    """Write the page into `folder`, replacing that of an earlier run."""
    scenes = world.sample_scenes(recipe.held_out, seed=HELD_OUT_SEED, held_out=True, distinct=True)
    kinds = np.array([question.kind for _, question in questions(scenes, seed=HELD_OUT_SEED)])
    by_variant: dict[str, list[dict]] = {}
    for record in records:
        by_variant.setdefault(record["variant"], []).append(record)
    answers = {name: np.array([r["right"] for r in rows], float) for name, rows in by_variant.items()}
    seconds = {name: float(np.median([r["seconds"]["stage 2"] for r in rows])) for name, rows in by_variant.items()}
    variants = [variant for variant in VARIANTS if variant.name in answers]
    folder.mkdir(parents=True, exist_ok=True)
    seeds = len(next(iter(answers.values())))
    reduced = recipe != QUICK or len(variants) != len(VARIANTS)
    text = f"""# What views are worth on the embedded world

Written by `python -m scripts.views`, {seeds} seeds, on {machine}, Python {platform.python_version()}; not edited.
{"**A reduced run.**" if reduced else ""}
The quickstart's data and steps: Stage 1 on {recipe.texts} captions, {recipe.stage1_steps} steps of {recipe.stage1_batch}; Stage 2 on
{recipe.stage2_images} images, {recipe.stage2_steps} steps of {recipe.stage2_batch}, from stores; {len(kinds)} questions about
{recipe.held_out} held-out scenes. A seed draws its own scenes, pictures, projector and order, the same for all variants. A row names
the aligner of Stage 1 (or `paired` images, or `without` a Stage 1), whether Stage 1 read text views (clauses), and the views of an
image in Stage 2. Shares of right answers, mean of the seeds.

{_accuracies(variants, answers, kinds, seconds)}

Tokens are those of an image, passes the encoder's for one image that is not in a store. A step is one of Stage 2 from a store,
loading included, relative to that of one vector, median of the seeds; trainings ran beside each other.

## Paired differences

By seed and question, with 95 % intervals bootstrapped over both, widened for the small number of seeds; in points of the share of
right answers.

{_differences(answers, kinds)}

## Captions of images after Stage 1 alone

Negative log-likelihood (NLL) of the true caption in nats a token, given the held-out image or another one, before any image was trained
on; what greedy captions name. A Stage 1 with text views is given the image's views, the others one vector. 95 % intervals as above.

{_captions(captions)}
"""
    write_text(folder / PAGE, text)
    views_html(text, {variant.name: answers[variant.name] for variant in variants}, seeds).write(folder / HTML)
    return folder / PAGE


def _accuracies(variants: list[Variant], answers: dict, kinds: np.ndarray, seconds: dict[str, float]) -> str:
    """`answers` are [seeds, questions] by variant, `seconds` those of Stage 2."""
    rows = []
    for variant in variants:
        right, count = answers[variant.name], ImageViews.parse(variant.views).count
        rows.append(
            [
                variant.name,
                str(count),
                f"{seconds[variant.name] / seconds[BASE]:.2f} x" if BASE in seconds else "-",
                f"{right.mean():.1%}",
                f"{right.mean(1).min():.1%} to {right.mean(1).max():.1%}",
                *(f"{right[:, kinds == kind].mean():.0%}" for kind in KINDS),
            ]
        )
    return table(["Stage 1, views", "tokens, passes", "step", "all", "over seeds", *KINDS], rows)


def _captions(captions: dict[str, list[dict]]) -> str:
    rows = []
    for name, seeds in captions.items():
        image, another = (np.array([record[key] for record in seeds]) for key in ("image", "another"))
        spread = bootstrap(image)
        recall = (np.mean([record["recall"][key] for record in seeds]) for key in ("object", "placed_object", "color"))
        rows.append(
            [
                name,
                f"{spread.mean:.3f} [{spread.low:.3f}, {spread.high:.3f}]",
                f"{another.mean():.3f}",
                " / ".join(f"{share:.0%}" for share in recall),
            ]
        )
    return table(["Stage 1", "given the image", "given another", "objects / in place / background named"], rows)


def _differences(answers: dict, kinds: np.ndarray) -> str:
    rows = []
    for title, name, over in QUESTIONS:
        if name in answers and over in answers and len(answers[name]) > 1:
            gain = answers[name] - answers[over]
            intervals = [bootstrap(100 * part) for part in (gain, *(gain[:, kinds == kind] for kind in KINDS))]
            whole = intervals[0]
            parts = (f"{each.mean:+.0f} [{each.low:+.0f}, {each.high:+.0f}]" for each in intervals[1:])
            rows.append([title, f"**{whole.mean:+.1f} [{whole.low:+.1f}, {whole.high:+.1f}]**", *parts])
    return table(["", "all", *KINDS], rows) if rows else "Needs two variants that differ in one thing."

"""Writes claims.md and its pictures from a run's results."""

from __future__ import annotations

import platform
from pathlib import Path

from revision_plugin._common.markdown import table
from scripts.claims.claim_figures import draw
from scripts.claims.comparison import MARGIN, Results, bootstrap
from scripts.claims.plan import ALIGNED, BY_NAME, DEFAULT, ENCODERS, SHIPPED, Settings
from scripts.claims.verdicts import TUNED_ON, answer_all

PAGE, PICTURES = "claims.md", "pictures"


def _likelihood(r: Results, name: str) -> str:
    if failed := r.untrained(name):
        return f"did not train ({failed} of {len(r.of(name))})"
    image = bootstrap(r.nll(name))
    return f"{image.mean:.3f} [{image.low:.3f}, {image.high:.3f}]"


def _named(r: Results, name: str) -> str:
    return " / ".join(f"{r.recall(name, fact).mean():.0%}" for fact in ("object", "placed_object", "color"))


def _right(r: Results, name: str, images: list[int]) -> str:
    accuracies = [r.accuracy(name, number) for number in images]
    return " / ".join("-" if right is None else f"{right.mean():.0%}" for right in accuracies)


def comparison_table(r: Results) -> str:
    """The aligners between their bounds."""
    tuned, bounds, rows = r.tuning_images("shuffled"), ("paired", "shuffled"), []
    for name in [n for n in (*ALIGNED, *bounds) if n in r]:
        geometry = ["-"] * 4
        if name not in bounds:
            geometry = [f"{r.geometry(name, key):.3f}" for key in ("gap", "trace", "paired_cosine")]
            geometry.append(f"{r.nll(name, 'own').mean():.3f}")
        label = {"paired": "paired images (bound)", "shuffled": "shuffled images (floor)"}.get(name, f"`{name}`")
        rows.append([label, *geometry, _likelihood(r, name), _named(r, name), _right(r, name, tuned)])
    images = r.geometry("shuffled", "image_trace")
    head = [
        "Stage 1 on",
        "centroid gap",
        f"trace (images {images:.3f})",
        "paired cosine",
        "NLL given its text",
        "NLL given the image",
        "objects / in place / background named",
        f"right after {' / '.join(map(str, tuned))} images",
    ]
    return table(head, rows)


def _others(r: Results) -> str:
    rows = []
    for name in r.names:
        if name not in (*ALIGNED, "paired", "shuffled"):
            rows.append(
                [
                    name,
                    f"{r.geometry(name, 'gap_before'):.3f}",
                    f"{r.geometry(name, 'gap'):.3f}",
                    f"{r.nll(name, 'own').mean():.3f}",
                    _likelihood(r, name),
                    _named(r, name),
                    _right(r, name, [TUNED_ON]),
                    f"{r.seconds(name, 'stage 1'):.0f}",
                ]
            )
    head = [
        "variant",
        "raw gap",
        "gap left",
        "NLL given its own input",
        "NLL given the image",
        "objects / in place / background named",
        f"right after {TUNED_ON} images",
        "Stage 1 (s)",
    ]
    return table(head, rows) if rows else "Not run."


def _times(r: Results) -> str:
    rows = [
        [f"`{name}`", f"{r.seconds(name, 'fit'):.2f}", f"{r.seconds(name, 'stage 1'):.0f}"]
        for name in ALIGNED
        if name in r
    ]
    return table(["aligner", "fit (s)", "Stage 1 (s)"], rows)


def _settings(settings: Settings) -> str:
    return (
        f"Stage 1: {settings.steps} steps of {settings.batch}, only the projector trains, 1 visual token, {settings.texts} texts (1x) or pairs; "
        "beta2 0.95, the learning rate warmed up over a tenth, held, and lowered over the last third. "
        f"{settings.seeds} seeds; a seed draws its own texts, statistics, projector and order, the same for all variants. "
        f"Measured on {settings.held_out} held-out scenes ({settings.captioned} captions written, "
        f"questions about {settings.asked}). Stage 2: once over the images, all of the model trains."
    )


def write_report(
    records: list[dict], settings: Settings, folder: Path, *, machine: str, wall: float, command: str
) -> Path:
    """Write claims.md and pictures/claim-*.png into `folder`, replacing those of an earlier report."""
    results = Results(records)
    answers = answer_all(results)
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    sections = []
    for number, answer in enumerate(answers, 1):
        body = f"## {number}. {answer.question}\n\n"
        if answer.claim:
            picture = draw(results, number, pictures)
            body += f"Claim: {answer.claim}. **Verdict: {answer.verdict}.** {answer.sentence}\n\n"
            body += f"![{answer.question}]({PICTURES}/{picture})\n"
        else:
            body += f"**Verdict: {answer.verdict}.** {answer.sentence}\n"
        sections.append(body)
    page = folder / PAGE
    page.write_text(_page(results, settings, sections, answers, machine, wall, command), encoding="utf-8")
    return page


def _page(r: Results, settings: Settings, sections, answers, machine, wall, command) -> str:
    reduced = settings != DEFAULT or set(r.names) != set(BY_NAME)
    note = "\n**A reduced run: its verdicts are weaker than those of the full one.**\n" if reduced else ""
    verdicts = table(["question", "claim", "verdict"], [[a.question, a.claim or "-", a.verdict] for a in answers])
    gaps = ", ".join(
        f"{e} {r.geometry(n, 'gap_before'):.2f}"
        for e in ENCODERS
        if (n := "none" + ("" if e == SHIPPED else f", {e}")) in r
    )
    return f"""# The papers' claims on the embedded world

Written by `{command}` in {wall / 60:.0f} minutes on {machine}, Python {platform.python_version()}; not edited.
{note}
{_settings(settings)} Encoders by the bound of their logit scale, with raw centroid gap: {gaps}.

How to read it: the measure is the negative log-likelihood (NLL) of a held-out scene's caption given its real image, nats a token,
before any image was trained on; lower is better. Differences are paired by seed and scene; their 95 % intervals are bootstrapped over
seeds and scenes, widened for the small number of seeds. A claim holds or does not where its interval leaves out zero (or, where it
speaks of no difference, the margin of {MARGIN:.0%} of what pairs win over no alignment), else this run cannot tell. A training
whose own reconstruction failed is marked and not ranked. A small world, a small encoder and a language model of three million
parameters: a verdict here is about this world, not about the papers' models.

{verdicts}

{comparison_table(r)}

In brackets 95 % intervals; gap, trace and cosine on held-out pairs after alignment; named by greedy captions, zero-shot; right is the
share of questions answered after Stage 2 (0 images: without one). Times:

{_times(r)}

{chr(10).join(sections)}
## All other variants

ReAlign where nothing else is said; a dash where Stage 2 was not run. What is written is always the concise caption; `short captions`
are embedded without places and backgrounds, `long captions` say all twice and are longer than the encoder's window. `other world`:
statistics of pictures with exchanged colours and of lists of facts; `other images`: those pictures, and this world's texts. Rows are
those a modality that the statistics are taken from; tokens are copies of one embedding. The encoders of scale 8 and 40 are shipped;
`python -m scripts.demo_artefacts.train_demo_encoder --logit-scale 40 --highest-logit-scale 40 --out FOLDER` rebuilds one in about a quarter of an hour
on one core. They differ in more than their gap: in how well they place objects, too (`PROVENANCE.json` beside each).

{_others(r)}
"""

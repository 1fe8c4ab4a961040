"""Writes claims.md and its pictures from a run's results."""

from __future__ import annotations

import json
import platform
from collections import Counter
from pathlib import Path

from revision_plugin._common.markdown import table
from scripts.claims.agreement import TIE, agreements, always, of_choices
from scripts.claims.claim_figures import draw_cells
from scripts.claims.claims_html import write_html
from scripts.claims.comparison import HOLDS, Results, bootstrap
from scripts.claims.plan import (
    BY_NAME,
    DEFAULT,
    ENCODERS,
    METHODS,
    ON_MATCHES,
    OTHER,
    VARIANTS,
    WITH_OTHER_CONTENT,
    Settings,
    cell,
)
from scripts.claims.tuning_plan import DEFAULT_TUNING, TuningSettings
from scripts.claims.tuning_verdicts import tuning_answers, tuning_sections
from scripts.claims.verdicts import Answer, answer_all
from scripts.wide_world import ENCODERS as ENCODER_FOLDERS

PAGE, PICTURES = "claims.md", "pictures"


def _encoders(r: Results) -> str:
    rows = []
    for name in ENCODERS:
        record = json.loads((ENCODER_FOLDERS / name.replace(" ", "-") / "PROVENANCE.json").read_text(encoding="utf-8"))
        seen = record["held_out"]
        recalls = (f"{seen[f'{way}_recall_at_1']:.0%}" for way in ("image_to_text", "text_to_image"))
        figures = (f"{seen[key]:.2f}" for key in ("centroid_gap", "text_trace", "image_trace", "paired_cosine"))
        rows.append([name, f"{record['logit_scale']:.0f}", *figures, *recalls])
    head = ["encoder", "logit scale", "raw gap", "trace, texts", "trace, images", "cosine of pairs"]
    return table([*head, "text found of 1000", "image found of 1000"], rows)


def cells_table(r: Results, encoder: str, content: str = "same") -> str:
    """The aligners of one cell between their bounds."""
    methods = (*(METHODS if content == "same" else ("none", *WITH_OTHER_CONTENT)), *ON_MATCHES)
    names = [cell(m, encoder, content="same" if m == "none" else content) for m in methods]
    names += [cell("paired", encoder), cell("shuffled", encoder)]
    rows = []
    for name in (each for each in names if each in r):
        measured = ["-"] * 3
        if BY_NAME[name].rows == "texts":
            measured = [f"{r.geometry(name, key):.3f}" for key in ("gap", "trace", "paired_cosine")]
        right = bootstrap(100 * r.right(name))
        image = bootstrap(r.nll(name))
        failed = f" (not learnt: {r.untrained(name)} seeds)" if r.untrained(name) else ""
        likelihood = f"{image.mean:.3f} [{image.low:.3f}, {image.high:.3f}]{failed}"
        label = {"paired": "paired images (bound)", "shuffled": "shuffled images (floor)"}.get(
            name.split(",")[0], f"`{name.split(',')[0]}`"
        )
        own = f"{r.nll(name, 'own').mean():.3f}"
        rows.append([label, *measured, own, likelihood, f"{right.mean:.1f} [{right.low:.1f}, {right.high:.1f}]"])
    head = ["Stage 1 on", "gap left", "trace", "cosine of pairs", "NLL given its text", "NLL given the image"]
    return table([*head, "right of four (%)"], rows)


def _lost(r: Results) -> str:
    """The cells where monge does not tie with ReAlign."""
    lost = []
    for encoder in ENCODERS:
        for content in ("same", OTHER):
            names = [cell(m, encoder, content=content) for m in ("monge", "realign")]
            if all(name in r for name in names):
                gain = r.gain(*names)
                if gain.high < 0:
                    lost.append(f"{names[0]} ({gain} nats)")
    return "; ".join(lost) or "none"


def _agreement(r: Results, choices: list[dict]) -> str:
    found = agreements(r)
    if not found:
        return "Not run."
    fixed = [
        each for method in ("none", "mean_shift", "realign", "monge", "monge on matches") if (each := always(r, method))
    ]
    if automatic := of_choices(r, choices):
        fixed.insert(0, automatic)
    rows = [
        [
            each.criterion.replace("_", " "),
            "-" if each.correlation != each.correlation else f"{each.correlation:+.2f}",
            f"{each.ties:.0%}",
            f"{each.loss:.3f}",
            f"{each.largest_loss:.3f}",
        ]
        for each in [*fixed, *found]
    ]
    return table(["chosen by", "rank correlation", f"within {TIE} of the best", "mean loss", "largest loss"], rows)


def _choices(choices: list[dict]) -> str:
    """What was chosen in each cell, how often, and by what."""
    rows = []
    for encoder in ENCODERS:
        for content in ("same", OTHER):
            made = [each for each in choices if (each["encoder"], each["content"]) == (encoder, content)]
            if made:
                differs = sum(each["other_content"] for each in made)
                chosen = Counter(each["chosen"] for each in made)
                said = ", ".join(f"`{name}` {count} of {len(made)}" for name, count in chosen.most_common())
                rows.append([encoder, content, said, f"{differs} of {len(made)}"])
    return table(["encoder", "content", "chosen", "content found to differ"], rows) if rows else "Not run."


def _answer(answer: Answer) -> str:
    body = f"Claim: {answer.claim}. **Verdict: {answer.verdict}.** {answer.sentence}"
    if answer.parts:
        rows = [[part.what, part.papers, part.here, part.verdict] for part in answer.parts]
        body += "\n\n" + table(["comparison", "the papers'", "here", "verdict"], rows)
    return body


def write_report(
    records: list[dict],
    choices: list[dict],
    tuning: list[dict],
    settings: Settings,
    tuning_settings: TuningSettings,
    folder: Path,
    *,
    machine: str,
    wall: float,
    command: str,
) -> Path:
    """Write claims.md, report.html and pictures/claims-*.png into `folder`, replacing those of an earlier report."""
    r = Results(records)
    answers = answer_all(r)
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    picture = draw_cells(r, pictures)
    judged = tuning_answers(tuning)
    verdicts = [[a.title, a.claim, a.verdict] for a in answers] + [["Stage 2", j.claim, j.verdict] for j in judged]
    full = settings == DEFAULT and tuning_settings == DEFAULT_TUNING and {v.name for v in VARIANTS} <= set(r.names)
    note = "" if full else "\n**A reduced run: its verdicts are weaker than those of the full one.**\n"
    cells = []
    for encoder in ENCODERS:
        for content in ("same", OTHER):
            shown = (*METHODS, "paired", "shuffled") if content == "same" else (*WITH_OTHER_CONTENT, *ON_MATCHES)
            if any(cell(m, encoder, content=content) in r for m in shown):
                title = f"### {encoder}" + ("" if content == "same" else f", images of {content}")
                cells.append(f"{title}\n\n{cells_table(r, encoder, content)}")
    sections = [f"### {a.title}\n\n{_answer(a)}" for a in answers]
    sections += [f"### {title}\n\n{body}" for title, body in tuning_sections(tuning)]
    holds = sum(verdict == HOLDS for *_, verdict in verdicts)
    page = folder / PAGE
    page.write_text(
        f"""# The papers' claims on two small worlds

Written by `{command}` in {wall / 60:.0f} minutes on {machine}, Python {platform.python_version()}; not edited.
{note}
{_how(settings, tuning_settings)}

{holds} of {len(verdicts)} claims hold here:

{table(["question", "claim", "verdict"], verdicts)}

## The encoders

Small CLIPs of the wide world, trained by `python -m scripts.wide_world.train_wide_encoder` as their
`PROVENANCE.json` says, and chosen by the figures of this table, before an aligner was compared on them. Real encoders are
larger, and find more.

{_encoders(r)}

## The cells

An encoder, and whether the images of the statistics show what the texts speak of ({OTHER}: animals and food alone). NLL is
the negative log-likelihood of a held-out scene's caption in nats a token, lower is better; right of four, the share of
pictures whose true caption is likelier than three that differ in one fact (chance 25). No training saw a real image but
`paired`. Cells where `monge` does not tie with ReAlign: {_lost(r)}.

![the likelihoods, one dot a seed]({PICTURES}/{picture})

{chr(10).join(f"{each}{chr(10)}" for each in cells)}
## The claims

{chr(10).join(f"{each}{chr(10)}" for each in sections)}
## Choosing without pairs

Quantities of an aligner that need no pair (`revision_plugin.aligners.criteria`), on rows its fit has not seen, against
the likelihood after Stage 1: in each cell and seed the aligner is taken whose quantity is best, and compared with the one
that is best by likelihood. Loss in nats a token; the sign of a quantity is taken from the same cells, which flatters it.

{_agreement(r, choices)}

What `auto` chose ([choosing.md](choosing.md) has its rule), from the rows that the cell's aligners were fitted on. What it fits
on matches was decided on the embedded world after ReAlign on matches, its first form, had lost 0.013 nats in these cells: they
are no independent test of it.

{_choices(choices)}
""",
        encoding="utf-8",
    )
    write_html(r, page, command=command, machine=machine, wall=wall)
    return page


def _how(s: Settings, t: TuningSettings) -> str:
    return f"""Stage 1 is measured in the wide world (`scripts/wide_world`: 714 things, captions as people write them, a language model of
3.5 million parameters): {s.steps} steps of {s.batch}, only the projector trains ({s.projector}: with
two layers training on pairs comes down in twice the steps), one visual token, {s.texts} texts (1x) or
pairs, statistics of {s.statistics} rows a modality, {s.held_out} held-out scenes; SmolLM2-135M: {s.large_steps} steps of
{s.large_batch}. Stage 2 is measured in the embedded world with its encoder of scale 40: {t.tuned} scenes with questions,
{t.asked} held-out scenes. {s.seeds} seeds; a seed draws its own texts, statistics, projector and order, the same for all
variants. Differences are paired by seed and scene; their 95 % intervals are bootstrapped over both, widened for the small
number of seeds. A part of a claim holds where its interval leaves out zero on the claim's side, does not where it does on
the other, else this run cannot tell; a claim holds if all parts do. The papers' figures are averages of eleven benchmarks
(ReVision's, with [A] AnisoAlign's). Small worlds, small encoders: a verdict here is not one about the papers' models."""

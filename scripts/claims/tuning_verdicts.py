"""Part two's verdicts and the sections of the page, from a run's own records."""

from __future__ import annotations

from dataclasses import dataclass, field

from revision_plugin._common.markdown import table
from revision_plugin.demo.questions import KINDS
from scripts.claims.comparison import FAILS, HOLDS, OPEN, all_of, bootstrap
from scripts.claims.tuning_claims import SECTIONS, Claim
from scripts.claims.tuning_plan import TuningVariant
from scripts.claims.tuning_results import TuningResults, in_percent, in_points


@dataclass(frozen=True)
class Judged:
    """A claim's verdict and one sentence why; `rows` are its parts as (what, the papers', here in points, verdict)."""

    claim: str
    verdict: str
    sentence: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)


def judge(claim: Claim, results: TuningResults) -> Judged:
    """A claim holds if all of its parts do, and does not if one does not; not run, it cannot be told."""
    missing = [variant.name for variant in claim.needs if variant not in results]
    if missing:
        return Judged(claim.text, OPEN, f"Not run: {'; '.join(missing)}.")
    parts = claim.judge(results)
    if not parts:
        return Judged(claim.text, OPEN, "No two of the variants differ in the first place.")
    verdict = all_of(part[3] for part in parts)
    what, _, gain, _ = min((part for part in parts if part[3] == verdict), key=lambda part: part[2].mean)
    said = {
        HOLDS: "{} is the least, and more than zero",
        FAILS: "{} is the other way round",
        OPEN: "{} cannot be told from zero",
    }
    sentence = f"{claim.why}: {said[verdict].format(f'{what} {in_points(gain)}')}."
    return Judged(claim.text, verdict, sentence, [(w, p, in_points(g), v) for w, p, g, v in parts])


def tuning_answers(records: list[dict]) -> list[Judged]:
    """All claims in their order."""
    results = TuningResults(records)
    return [judge(claim, results) for *_, claims in SECTIONS for claim in claims]


def tuning_sections(records: list[dict]) -> list[tuple[str, str]]:
    """(title, markdown) of each section: what was run, shares of right answers, and its claims with their verdicts."""
    results, sections = TuningResults(records), []
    for title, introduction, variants, claims in SECTIONS:
        present = [variant for variant in variants if variant in results]
        parts = [introduction, *([_accuracies(results, present)] if present else [])]
        for claim in claims:
            judged = judge(claim, results)
            parts.append(f"Claim: {judged.claim}. **Verdict: {judged.verdict}.** {judged.sentence}")
            if judged.rows:
                parts.append(table(["points won", "the papers'", "here", "verdict"], judged.rows))
        sections.append((title, "\n\n".join(parts)))
    return sections


def _accuracies(r: TuningResults, variants: list[TuningVariant]) -> str:
    """Percent of right answers with 95 % intervals, and by kind of question."""
    rows = []
    for variant in variants:
        right = r.right(variant)
        shares = (f"{right[:, r.kinds == kind].mean():.0%}" for kind in KINDS)
        rows.append([variant.name, in_percent(bootstrap(100 * right)), *shares])
    return table(["Stage 1, Stage 2", "right (%)", *KINDS], rows)

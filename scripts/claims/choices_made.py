"""What `revision fit --method auto` chooses in each cell, from the rows that the cell's aligners were fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from revision_plugin._common.devices import choose_device
from revision_plugin._common.files import read_json, write_json
from revision_plugin.aligners.auto import CANDIDATES, compare, read_candidates
from scripts.claims.plan import ENCODERS, OTHER, Settings
from scripts.claims.variant_training import unpaired_rows

NAMES = dict(zip(CANDIDATES, ("none", "mean_shift", "realign", "monge", "monge blend .5", "monge shrunk .9")))


def choice_file(out: Path, encoder: str, content: str, seed: int) -> Path:
    return out / "choices" / f"{encoder} {content} {seed}.json".replace(" ", "-")


def choices_to_make(out: Path, settings: Settings) -> list[tuple]:
    """(function, arguments) of all choices that are not made yet."""
    return [
        (make_choice, (out, settings, encoder, content, seed))
        for encoder in ENCODERS
        for content in ("same", OTHER)
        for seed in range(settings.seeds)
        if not choice_file(out, encoder, content, seed).exists()
    ]


def make_choice(out: Path, settings: Settings, encoder: str, content: str, seed: int) -> None:
    """Keep what is chosen, and why."""
    fitted, _ = unpaired_rows(out, settings, encoder, content, seed, settings.statistics)
    source, target = (rows.astype(np.float64) for rows in fitted)
    order = np.random.default_rng(seed)
    record = compare(
        read_candidates(CANDIDATES),
        source[order.permutation(len(source))],
        target[order.permutation(len(target))],
        seed=seed,
        device=choose_device("cpu"),
        show=False,
    )
    chosen = NAMES[record["chosen"]]
    if record["other_content"]:
        chosen = f"{chosen} on matches"
    made = {"encoder": encoder, "content": content, "seed": seed, "chosen": chosen}
    path = choice_file(out, encoder, content, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, made | {"other_content": record["other_content"], "reason": record["reason"]})


def made_choices(out: Path, settings: Settings) -> list[dict]:
    """All choices of a run, none where its variants asked for none."""
    paths = [choice_file(out, e, c, s) for e in ENCODERS for c in ("same", OTHER) for s in range(settings.seeds)]
    return [read_json(path) for path in paths if path.exists()]

"""Which trainings are compared, each with the quickstart's data, sizes and steps."""

from __future__ import annotations

from dataclasses import dataclass

from revision_plugin.errors import RevisionError

CLAUSES, NAMED = "clauses", "python:scripts.views.world_clauses:quadrants"
PAIRED, WITHOUT = "paired", "without"


@dataclass(frozen=True)
class Variant:
    """Stage 1 with the aligner `method` (or after `paired` images, or `without` one), Stage 2 with `views` of an image.

    With `text_views` Stage 1 reads the whole caption and its parts, each kind aligned by an aligner of its own: its
    clauses, or those and a name for every empty part. The share `whole_share` of the captions is read as wholes alone.
    """

    method: str = "realign"
    views: str = "1"
    text_views: str | None = None
    whole_share: float = 0.0

    @property
    def name(self) -> str:
        text = {None: "", CLAUSES: " + clauses", NAMED: " + clauses, empty parts named"}[self.text_views]
        mixed = f", {self.whole_share:.0%} wholes alone" if self.whole_share else ""
        return f"{self.method}{text}{mixed}, {self.views}"

    @property
    def stage1(self) -> str:
        """The name of its Stage 1, which others may share."""
        return self.name if self.text_views else self.method


VARIANTS = [
    Variant(),
    Variant("monge"),
    Variant(views="2x2:mask"),
    Variant("monge", "2x2:mask"),
    Variant(WITHOUT, "2x2:mask"),
    Variant(PAIRED, "2x2:mask"),
    Variant("realign", "2x2:mask", CLAUSES),
    Variant("monge", "2x2:mask", CLAUSES),
    Variant("monge", "2x2:mask", CLAUSES, 0.5),
    Variant("monge", "2x2:mask", NAMED),
    Variant("monge", "2x2:mask", NAMED, 0.5),
    Variant("realign", "2x2:mask", NAMED, 0.5),
    Variant(views="2x2:crop"),
    Variant(views="2x2:mask:0.25"),
    Variant(views="3x3:mask"),
]
BASE, VIEWS, CLAUSED, BEST = VARIANTS[0].name, VARIANTS[2].name, VARIANTS[7].name, VARIANTS[9].name


def chosen(names: list[str] | None) -> list[Variant]:
    """The variants of a run. Raises RevisionError naming one that does not exist."""
    by_name = {variant.name: variant for variant in VARIANTS}
    unknown = [name for name in names or [] if name not in by_name]
    if unknown:
        raise RevisionError(f"no variant '{unknown[0]}'; there are: {'; '.join(by_name)}")
    return VARIANTS if names is None else [by_name[name] for name in names]

"""Part two of the claims, instruction tuning: the settings that its trainings share, and the variants, each of one
Stage 1, one Stage 2 and one way to be asked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from revision_plugin.errors import RevisionError

PART = "tuning"  # what records of this part say
ALIGNERS = ("none", "mean_shift", "c3", "realign", "aniso", "monge")
PAIRED, WITHOUT = "paired images", "without Stage 1"  # the other kinds of Stage 1
IMAGES, TEXTS = "images", "texts"  # what Stage 2 is given
ONE_VECTOR, FIVE_VECTORS = "1", "2x2:mask"  # views of an image: the whole, or the whole and its quadrants


@dataclass(frozen=True)
class TuningSettings:
    """Sizes of a run. Learning rates are those of the quickstart, for a language model of three million parameters."""

    seeds: int = 5
    texts: int = 1600  # Stage 1's, or as many pairs
    steps: int = 240
    batch: int = 16
    rate: float = 2e-2
    statistics: int = 6000  # rows a modality that the aligners are fitted on
    tuned: int = 512  # scenes with questions, once through
    tuning_batch: int = 8
    tuning_rate: float = 5e-4
    asked: int = 80  # held-out scenes with questions

    def to_json(self) -> dict:
        return asdict(self)

    def tuned_scenes(self, share: float) -> int:
        """How many scenes Stage 2 sees of this share of the instruction data."""
        return max(1, round(share * self.tuned))

    def tuning_steps(self, share: float) -> int:
        """Steps of one pass over them."""
        return -(-self.tuned_scenes(share) // self.tuning_batch)


DEFAULT_TUNING = TuningSettings()
QUICK_TUNING = replace(DEFAULT_TUNING, seeds=2, texts=800, steps=160, statistics=3000, tuned=256, asked=40)


@dataclass(frozen=True)
class TuningVariant:
    """Stage 1 on the texts aligned by `stage1` (one of `ALIGNERS`), on `PAIRED` or `WITHOUT`; Stage 2 on the `share` of
    the instruction data, its pictures seen as `stage2` says: real `IMAGES` with their `views`, or the embedded captions
    (`TEXTS`), aligned as in Stage 1. Asked about real images with the same views, or `blind`, without an image.
    """

    stage1: str
    stage2: str = IMAGES
    share: float = 1.0
    views: str = ONE_VECTOR
    blind: bool = False

    @property
    def name(self) -> str:
        part = f", {self.share:.0%} of the data" if self.share < 1 else ""
        part += ", five vectors" if self.views == FIVE_VECTORS else ""
        return f"{self.stage1}, {self.stage2}{part}{', asked blind' if self.blind else ''}"

    @property
    def trained(self) -> TuningVariant:
        """The variant whose checkpoint this one asks: itself, unless it is blind."""
        return replace(self, blind=False)


ON_IMAGES = [TuningVariant(stage1) for stage1 in (*ALIGNERS, PAIRED, WITHOUT)]
BY_SHARE = [TuningVariant("realign", share=share) for share in (0.3, 0.6, 1.0)]
ON_TEXTS = [TuningVariant("realign", TEXTS, blind=True), *(TuningVariant(stage1, TEXTS) for stage1 in ALIGNERS)]
WITH_VIEWS = [TuningVariant(stage1, views=FIVE_VECTORS) for stage1 in (*ALIGNERS, WITHOUT)]
TUNING_VARIANTS = list(dict.fromkeys([*ON_IMAGES, *BY_SHARE, *ON_TEXTS, *WITH_VIEWS]))
TUNING_BY_NAME = {variant.name: variant for variant in TUNING_VARIANTS}


def chosen_tuning(names: list[str] | None = None) -> list[TuningVariant]:
    """The variants of a run. Raises RevisionError naming one that does not exist."""
    unknown = [name for name in names or [] if name not in TUNING_BY_NAME]
    if unknown:
        raise RevisionError(f"no variant '{unknown[0]}'; there are: {'; '.join(TUNING_BY_NAME)}")
    return [variant for variant in TUNING_VARIANTS if names is None or variant.name in names]

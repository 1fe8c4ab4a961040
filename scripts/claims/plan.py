"""Which trainings are compared: the settings they share, and the variants that differ from each other in one thing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from revision_plugin.errors import RevisionError

PAPERS_STATISTICS = 10000  # rows a modality at which ReVision's curve of sample sizes is flat (appendix E.1)
TEXTS_AT_MOST = 4  # times the basic number of texts
SHIPPED = "scale 16"


@dataclass(frozen=True)
class Settings:
    """Sizes of a run. Learning rates are those of the quickstart, for a language model of three million parameters."""

    seeds: int = 5
    steps: int = 360
    batch: int = 16
    rate: float = 2e-2
    texts: int = 1600  # "1x": so many texts, or as many pairs
    unpaired: int = 24000  # images for statistics alone
    held_out: int = 300  # scenes whose captions are scored
    captioned: int = 150  # of them, those a caption is written for
    asked: int = 100  # of them, those questions are asked about
    tuning_images: tuple[int, ...] = (64, 256, 1024)
    tuning_batch: int = 8
    tuning_rate: float = 5e-4

    def to_json(self) -> dict:
        return {**asdict(self), "tuning_images": list(self.tuning_images)}


DEFAULT = Settings()
QUICK = replace(
    DEFAULT, seeds=2, steps=200, texts=800, unpaired=11000, held_out=150, captioned=60, asked=40, tuning_images=(256,)
)


@dataclass(frozen=True)
class Variant:
    """One kind of training, run once a seed.

    `rows` are what Stage 1 writes the full captions from: the embeddings of `texts` (of the style `captions`), of the
    scenes' own images (`pairs`) or of other scenes' (`shuffled`).
    `statistics` are the rows a modality that the aligner is fitted on, from this world or from another; `other images`
    has this world's texts and the other's images. `tuned` says whether Stage 2 follows, with all numbers of images or
    one.
    """

    name: str
    method: str = "realign"
    options: dict = field(default_factory=dict)
    rows: str = "texts"
    times: int = 1
    captions: str = "full"
    statistics: int = PAPERS_STATISTICS
    world: str = "own"
    tokens: int = 1
    encoder: str = SHIPPED
    tuned: str = "no"  # "all", "one" or "no"
    quick: bool = True

    def tuning_images(self, settings: Settings) -> tuple[int, ...]:
        """The numbers of real images after which Stage 2 is measured."""
        if self.tuned == "one":
            return tuple(n for n in settings.tuning_images if n == 256)
        return settings.tuning_images if self.tuned == "all" else ()


# logit scales at which the other encoders were trained; the shipped demo encoder has the one in the middle
ENCODERS = ("scale 8", SHIPPED, "scale 40")
ALIGNED = ("none", "mean_shift", "c3", "c3 0.05", "realign", "bc", "aniso")

VARIANTS = [
    Variant("none", "none", tuned="all"),
    Variant("mean_shift", "mean_shift", tuned="all"),
    Variant("c3", "c3", {"sigma": 0.02}, tuned="all"),
    Variant("c3 0.05", "c3", {"sigma": 0.05}, tuned="all", quick=False),
    Variant("realign", tuned="all"),
    Variant("bc", "bc", tuned="all"),
    Variant("aniso", "aniso", tuned="all"),
    Variant("paired", "none", rows="pairs", tuned="all"),
    Variant("shuffled", "none", rows="shuffled", tuned="all"),
    Variant("2x text", times=2),
    Variant("4x text", times=4, quick=False),
    Variant("c3 0.1", "c3", {"sigma": 0.1}),
    Variant("short captions", captions="short", tuned="one"),
    Variant("long captions", captions="long", tuned="one"),
    Variant("other world", world="other"),
    Variant("other images", world="other images", quick=False),
    Variant("16 tokens", tokens=16),
    Variant("64 tokens", tokens=64, quick=False),
    Variant("5 rounds", options={"centroid_rounds": 5}),
    Variant("100 rows", statistics=100),
    Variant("24000 rows", statistics=24000, quick=False),
    *(
        Variant(f"{method}, {encoder}", method, encoder=encoder)
        for encoder in ENCODERS
        if encoder != SHIPPED
        for method in ("none", "realign")
    ),
]
BY_NAME = {variant.name: variant for variant in VARIANTS}


def chosen_variants(*, quick: bool, only: list[str] | None = None) -> list[Variant]:
    """The variants of a run, the floor always among them. Raises RevisionError naming one that does not exist."""
    unknown = [name for name in only or [] if name not in BY_NAME]
    if unknown:
        raise RevisionError(f"no variant '{unknown[0]}'; there are: {', '.join(BY_NAME)}")
    return [v for v in VARIANTS if (v.quick or not quick) and (only is None or v.name in [*only, "shuffled"])]

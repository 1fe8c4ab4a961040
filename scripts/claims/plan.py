"""Which trainings are compared by likelihood: the settings they share, and the variants, each unlike in one thing.

All are of the wide world. The variants of instruction tuning are in `tuning_plan`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from revision_plugin.errors import RevisionError

PAPERS_GAP = "scale 30"  # logit scale; as the papers' encoder has it, with nearly equal traces
UNEQUAL = "unequal traces"  # where ReAlign is more than a shift, so where ablations are run
ENCODERS = (PAPERS_GAP, UNEQUAL)  # chosen by gap and traces, before an aligner was compared on them
OTHER = "other content"
METHODS: dict[str, tuple[str, dict]] = {
    "none": ("none", {}),
    "mean_shift": ("mean_shift", {}),
    "c3": ("c3", {"sigma": 0.02}),
    "realign": ("realign", {}),
    "bc": ("bc", {}),
    "aniso": ("aniso", {}),
    "monge": ("monge", {}),
    "monge blend .5": ("monge", {"blend": 0.5}),
    "monge shrunk .9": ("monge", {"shrinkage": 0.9}),
}
ON_MATCHES = {  # fitted on the rows that the encoder matches
    f"{name} on matches": METHODS[name] for name in ("realign", "monge", "monge shrunk .9")
}
WITH_OTHER_CONTENT = ("mean_shift", "realign", "monge", "monge blend .5", "monge shrunk .9")
LARGE = ("none", "mean_shift", "realign", "monge", "paired")  # that are run with SmolLM2-135M, too


@dataclass(frozen=True)
class Settings:
    """Sizes of a run. The projector and its learning rate are for a language model of three million parameters; with
    SmolLM2 (`large_...`) it has LLaVA's two layers.
    """

    seeds: int = 5
    projector: str = "linear"  # with two layers the training on pairs takes twice the steps to come down
    steps: int = 320
    batch: int = 16
    rate: float = 0.25
    texts: int = 2560  # "1x": so many texts, or as many pairs, twice over
    statistics: int = 6000  # rows a modality that aligners are fitted on
    criteria: int = 1000  # others, that the unpaired criteria are measured on
    held_out: int = 240  # scenes whose captions are scored
    large_steps: int = 200
    large_batch: int = 8
    large_rate: float = 0.1  # in bf16 smaller ones, tried on pairs, learn little in so few steps
    large_held_out: int = 100

    def to_json(self) -> dict:
        return asdict(self)


DEFAULT = Settings()
QUICK = replace(
    DEFAULT,
    seeds=2,
    steps=100,
    texts=800,
    statistics=3000,
    criteria=500,
    held_out=100,
    large_steps=40,
    large_held_out=40,
)
GPU = replace(DEFAULT, steps=1000, texts=16000, statistics=20000, criteria=4000, held_out=1000, large_steps=1000)
GPU = replace(GPU, large_batch=32, large_held_out=1000)


@dataclass(frozen=True)
class Variant:
    """One kind of training, run once a seed.

    Stage 1 writes captions from `rows`: their own embeddings (`texts`), those of the scenes' images (`pairs`) or of
    other scenes' (`shuffled`), `times` as many texts for as many times the steps. `content` says what the images of the
    statistics show: the `same` as the texts, or a part of the world (`other content`).
    """

    name: str
    method: str = "realign"
    options: dict = field(default_factory=dict)
    rows: str = "texts"
    times: int = 1
    content: str = "same"
    statistics: int | None = None  # rows, instead of the settings'
    matched: bool = False  # fitted on the rows that the encoder matches
    encoder: str = UNEQUAL
    large: bool = False  # with SmolLM2
    quick: bool = False


def cell(method: str, encoder: str, *, content: str = "same") -> str:
    """The name of an aligner's training in one cell of the comparison."""
    return f"{method}, {encoder}" + ("" if content == "same" else f", {content}")


def _cells() -> list[Variant]:
    variants = []
    for encoder in ENCODERS:
        variants += [
            Variant(cell(name, encoder), method, options, encoder=encoder, quick=True)
            for name, (method, options) in METHODS.items()
        ]
        variants += [
            Variant(cell(rows, encoder), "none", rows=kind, encoder=encoder, quick=True)
            for rows, kind in (("paired", "pairs"), ("shuffled", "shuffled"))
        ]
        variants += [
            Variant(cell(name, encoder, content=OTHER), *METHODS[name], content=OTHER, encoder=encoder)
            for name in WITH_OTHER_CONTENT
        ]
        variants += [
            Variant(cell(name, encoder, content=shown), *chosen, content=shown, matched=True, encoder=encoder)
            for name, chosen in ON_MATCHES.items()
            for shown in ("same", OTHER)
        ]
    return variants


VARIANTS = [
    *_cells(),
    Variant("realign, steps 1 and 2", options={"centroid_rounds": 0}),
    Variant("realign, 5 rounds", options={"centroid_rounds": 5}),
    Variant("realign, 500 rows", statistics=500),
    Variant("monge, 500 rows", "monge", statistics=500),
    Variant("c3 0.1", "c3", {"sigma": 0.1}),
    Variant("aniso, initialisation", "aniso", {"refinement": False}),
    Variant("aniso, prior alone", "aniso", {"phase_loss": False}),
    Variant("aniso, phases alone", "aniso", {"prior_loss": False}),
    Variant("aniso, full bounds", "aniso", {"prior_scaling": False}),
    Variant("realign, 2x text", times=2),
    Variant("realign, 4x text", times=4),
]
LARGE_VARIANTS = [
    Variant(f"{name}, SmolLM2", "none" if name == "paired" else METHODS[name][0], rows=rows, large=True)
    for name in LARGE
    for rows in ["pairs" if name == "paired" else "texts"]
]
BY_NAME = {variant.name: variant for variant in (*VARIANTS, *LARGE_VARIANTS)}
TEXTS_AT_MOST = max(variant.times for variant in VARIANTS)  # times the basic number of texts


def chosen_variants(*, quick: bool, large: bool = False, only: list[str] | None = None) -> list[Variant]:
    """The variants of a run, those with SmolLM2 where `large` asks for them. Raises RevisionError naming one that does
    not exist.
    """
    unknown = [name for name in only or [] if name not in BY_NAME]
    if unknown:
        raise RevisionError(f"no variant '{unknown[0]}'; there are: {'; '.join(BY_NAME)}")
    if only is not None:
        return [variant for name, variant in BY_NAME.items() if name in only]
    return [v for v in VARIANTS if v.quick or not quick] + (LARGE_VARIANTS if large else [])

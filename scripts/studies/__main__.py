"""The papers' studies of alignment on your own stores; each writes NAME.json, NAME.png and NAME.svg into --out."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from revision_plugin._common.files import write_json
from revision_plugin._common.folders import require_free
from revision_plugin.cli import Parser
from revision_plugin.cli.arguments import MOST_SEED, add_view, whole
from revision_plugin.embeddings.item_views import of_view
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.verification import verified
from revision_plugin.encoders import require_same
from revision_plugin.errors import NotMeasurable, RevisionError, one_line
from scripts.studies import centroids, curves, measurements, rounding, spectra

ONE, PAIRS, TWO_PAIRS, TEXTS = "one and one", "pairs", "two pairs or more", "one or more, and one"


@dataclass(frozen=True)
class Study:
    """What a study is called after, and which stores it takes."""

    text: str
    measure: Callable[..., dict]
    stores: str = ONE

    @property
    def name(self) -> str:
        return self.measure.__name__

    @property
    def draws(self) -> bool:
        """Whether it draws anything at random."""
        return "seed" in inspect.signature(self.measure).parameters


STUDIES = {
    study.name.replace("_", "-"): study
    for study in (
        Study("figure 4: gap between aligned centroids, a pair of stores a corpus", centroids.aligned_centroids, PAIRS),
        Study("figure 7: held-out gap against the rows fitted on", measurements.sample_sizes),
        Study("figure 8(a): error of the mean against the rows, float32 and float64", rounding.mean_error),
        Study("figure 8(b): time and memory of a fit against the rows", measurements.fit_times),
        Study("ours: the gap that float32 and float64 accumulators leave", rounding.precision),
        Study("figure 9: statistics of one domain on another", measurements.domain_transfer, TWO_PAIRS),
        Study("figure 10(a): spectrum decay under blockwise covariance", spectra.spectrum_decay),
        Study("figure 10(b): kept neighbours under blockwise covariance", spectra.blockwise_failure),
        Study("figure 11: short against long captions, a store each in --source", spectra.caption_lengths, TEXTS),
    )
}


def main() -> None:
    listed = "\n".join(f"  {name:19s}{study.text}" for name, study in STUDIES.items())
    parser = Parser(
        description=__doc__,
        epilog=f"studies, by the figures of ReVision:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    drawing = ", ".join(name for name, study in STUDIES.items() if study.draws)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--source", type=Path, nargs="+", required=True, help="text store(s)")
    parser.add_argument("--target", type=Path, nargs="+", required=True, help="image store(s)")
    parser.add_argument(
        "--seed", type=whole(0, MOST_SEED), default=0, help=f"of rows and noise that are drawn: {drawing}"
    )
    add_view(parser)
    parser.add_argument("--out", type=Path, required=True)
    with one_line():
        a = parser.parse_args()
        record = run(a)
    print(json.dumps(record, indent=1))


def run(a) -> dict:
    """The study's record, which is also written."""
    require_free(a.out)
    study = STUDIES[a.study]
    require_counts(a.study, study.stores, len(a.source), len(a.target))
    texts = open_stores("--source", a.source, "text", a.view)
    images = open_stores("--target", a.target, "image", a.view)
    first, *others = [*texts.values(), *images.values()]
    for store in others:
        require_same(first.encoder, store.encoder, "the stores come from different encoders", "encode all with one")
    corpora = {name: (texts[name], image) for name, image in zip(texts, images.values())}
    seeded = {"seed": a.seed} if study.draws else {}
    try:
        with verified(first, *others):
            if study.stores in (PAIRS, TWO_PAIRS):
                record = study.measure(corpora, **seeded)
            elif study.stores == TEXTS:
                record = study.measure(texts, *images.values(), **seeded)
            else:
                record = study.measure(*texts.values(), *images.values(), **seeded)
    except NotMeasurable as error:
        raise RevisionError(f"{a.study} cannot be measured on these stores: {error}") from None
    a.out.mkdir(parents=True, exist_ok=True)
    write_json(a.out / f"{study.name}.json", record)
    getattr(curves, study.name)(record, a.out)
    return record


def require_counts(name: str, stores: str, sources: int, targets: int) -> None:
    """Raise RevisionError for another number of stores than the study takes."""
    if stores in (PAIRS, TWO_PAIRS):
        least = 2 if stores == TWO_PAIRS else 1
        if sources != targets or sources < least:
            raise RevisionError(
                f"{name} needs as many stores in --source as in --target{', two or more' if least == 2 else ''}, "
                f"not {sources} and {targets}"
            )
    elif targets != 1:
        raise RevisionError(f"{name} takes one store in --target, not {targets}")
    elif sources != 1 and stores == ONE:
        raise RevisionError(f"{name} takes one store in --source, not {sources}")


def open_stores(flag: str, paths: list[Path], modality: str, view: str | None) -> dict[str, Store]:
    """Stores by the last parts of their paths, as few as tell them apart. Raises RevisionError for a store given twice,
    and for one of another modality.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise RevisionError(f"{flag}: the same store is given twice")
    stores = [of_view(Store.open(path), view) for path in paths]
    for store in stores:
        store.require(modality, flag)
    parts, depth = [path.absolute().parts for path in paths], 1
    while len({each[-depth:] for each in parts}) < len(parts):
        depth += 1
    return {"/".join(each[-depth:]): store for each, store in zip(parts, stores)}


if __name__ == "__main__":
    main()

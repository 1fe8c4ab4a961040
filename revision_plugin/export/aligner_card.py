"""The card of an aligner: its fit report in words, its parameters by name and shape, and three ways to use it."""

from __future__ import annotations

import json

import numpy as np

from .._common.markdown import table
from ..aligners.base import WEIGHTS, Aligner
from ..aligners.fit_report import CorpusReport, FitReport
from ..embeddings.item_views import WHOLE
from .cards import COMMIT_NOTE, LIBRARY, NO_LICENCE, PLACEHOLDER, citation, code, facts, head, in_shell

NEWLINE = "\n"
MEANINGS = {
    "source_mean": "centroid (mean) of the unit-norm embeddings of the texts",
    "target_mean": "centroid (mean) of the unit-norm embeddings of the images",
}


def aligner_card(aligner: Aligner, name: str | None = None) -> str:
    """README.md of an aligner's repository, `name` (OWNER/NAME) where it is known.

    It says of the corpora what the fit report says: numbers of rows and content hashes, no texts and no paths.
    """
    report, encoder = aligner.report, aligner.report.encoder
    blocks = [
        head(library_name=LIBRARY, tags=[LIBRARY, "modality-gap", "embeddings", f"aligner-{aligner.method}"]),
        f"# A modality-gap aligner: {code(aligner.method)}\n",
        "It maps text embeddings of the encoder below to where that encoder's image embeddings lie. It was fitted on "
        f"texts and images that need not be pairs, and is read by `{LIBRARY}`.\n",
        facts(
            [
                ("method", code(aligner.method)),
                ("options", code(json.dumps(aligner.get_params())) if aligner.get_params() else "none"),
                ("dimension", aligner.dim),
                ("encoder", code(encoder.spec) if encoder else "not named (fitted on arrays)"),
                ("encoder's fingerprint", code(encoder.fingerprint) if encoder else "-"),
                ("SHA-256 of the parameters", code(aligner.identity["hash"])),
                ("seed", report.seed),
            ]
        ),
        _fit(report),
        _parameters(aligner),
        _use(aligner, name or PLACEHOLDER),
        citation(aligner.method),
        f"## Licence\n\n{NO_LICENCE}\n",
    ]
    return "\n".join(blocks)


def _fit(report: FitReport) -> str:
    corpora = [("texts (source)", report.source), ("images (target)", report.target)]
    gaps = [["all rows", f"{report.centroid_gap_before:.4g}", report.gap_after, report.trace_after]]
    if report.held_out:
        unseen = report.held_out
        rows = f"held out: {unseen.source_rows} texts, {unseen.target_rows} images, fitted without them"
        gaps.append([rows, "-", f"{unseen.centroid_gap:.4g}", f"{unseen.trace:.4f}"])
    remark = "" if report.held_out else "\nNo rows were held out.\n"
    if report.phantom_drift is not None:
        remark += f"\nBefore the last shift the centroids were {report.phantom_drift:.4g} apart (phantom drift).\n"
    fitted = table(["corpus", "rows", "view", "norm of the mean", "trace", "content hash"], map(_corpus, corpora))
    measured = table(["measured on", "centroid gap before", "centroid gap after", "trace of the aligned texts"], gaps)
    return (
        f"\n## What it was fitted on\n\n{fitted}\n\nA gap is the norm between the centroids of unit-norm rows, a trace "
        f"their mean squared distance from the centroid.\n\n{measured}\n{remark}"
    )


def _corpus(named: tuple[str, CorpusReport]) -> list[object]:
    role, corpus = named
    view = f"{corpus.view} of {corpus.views}" if corpus.view else "whole"
    content = code(corpus.content_hash) if corpus.content_hash else "none (arrays)"
    return [role, corpus.count, view if corpus.view is None else code(view), *_rounded(corpus), content]


def _rounded(corpus: CorpusReport) -> list[str]:
    return [f"{corpus.mean_norm:.4f}", f"{corpus.trace:.4f}"]


def _parameters(aligner: Aligner) -> str:
    rows = [
        [
            code(name),
            code([*np.shape(value)]),
            code(value.dtype),
            MEANINGS.get(name, f"of the method {code(aligner.method)}"),
        ]
        for name, value in sorted(aligner.parameters.items())
    ]
    return f"""## The means themselves, and the other parameters

`{WEIGHTS}` holds, by name:

{table(["name", "shape", "type", "what it is"], rows)}

The vector between both means, which C3 and others take, without any library of ours:

```python
from safetensors.numpy import load_file

parameters = load_file("{WEIGHTS}")
gap = parameters["target_mean"] - parameters["source_mean"]  # [{aligner.dim}], float64
```
"""


def _use(aligner: Aligner, name: str) -> str:
    spec, encoder = f"hf:{name}@COMMIT", aligner.report.encoder
    in_python = f"""## How to use it

{COMMIT_NOTE}

In Python, on text embeddings `[N, {aligner.dim}]` of the same encoder:

```python
from revision_plugin import load_aligner

aligned = load_aligner("{spec}").transform(text_embeddings)
```
"""
    if encoder is None:
        return f"{in_python}\nIt names no encoder, so commands and trainings refuse it: they compare encoders.\n"
    view = aligner.report.source.view
    chosen = f" --view {in_shell(view)}" if view else ""
    flag = "--revision_part_aligner" if (view or WHOLE) != WHOLE else "--revision_aligner"
    apply = f"revision apply --aligner {spec} --source TEXT_STORE{chosen} --out aligned"
    refit = f"revision fit --refit-source {spec} --source TEXT_STORE{chosen} --out refitted"
    lines = [apply] if aligner.needs_target_rows else [apply, refit]
    another = "" if aligner.needs_target_rows else ", and (the second line) for texts of another domain"
    return f"""{in_python}
On the command line, for texts like those it was fitted on{another}:

```bash
{NEWLINE.join(lines)}
```

In LLaVA's pretraining on text alone:

```bash
python scripts/train.py --vision_tower revision --revision_encoder "{in_shell(encoder.spec)}" --data_path TEXT_STORE \\
    {flag} {spec} ...
```
"""

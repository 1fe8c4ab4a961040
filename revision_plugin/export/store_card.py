"""The card of an embedding store: a dataset card, which says what its rows are and how they are opened."""

from __future__ import annotations

from ..embeddings.store import Store
from .cards import COMMIT_NOTE, LIBRARY, NO_LICENCE, PLACEHOLDER, citation, code, facts, head, in_shell

COLUMNS = {
    "id": "the item's name",
    "embedding": "unit-norm embedding",
    "view": "number of the view: 0 for the whole, then its parts",
    "text": "the text that was encoded",
    "conversations": "the item's turns in LLaVA's form, or null",
}

FILES_BY_NAME = 100  # of a store, in a card that people read


def store_card(store: Store, name: str | None = None) -> str:
    """README.md of a store's repository, `name` (OWNER/NAME) where it is known."""
    manifest = store.manifest
    kind = {"text": "texts", "image": "images"}[manifest.modality]
    aligned = manifest.aligner and manifest.aligner.get("method", "an aligner")
    spec = f"hf:{name or PLACEHOLDER}@COMMIT"
    files = manifest.shards if len(manifest.shards) <= FILES_BY_NAME else "data-*.arrow"
    data_files = [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}]
    return "\n".join(
        [
            head(
                configs=data_files,
                tags=[LIBRARY, "embeddings", "modality-gap", f"{manifest.modality}-embeddings"],
            ),
            f"# Embeddings of {manifest.count} {kind if manifest.views is None else f'views of {kind}'}\n",
            f"A store of `{LIBRARY}`: unit-norm embeddings of {kind} by one frozen dual encoder, in Arrow files.\n",
            facts(
                [
                    ("kind", manifest.modality),
                    ("rows", manifest.count),
                    ("dimension", manifest.dim),
                    ("type of the embeddings", code(manifest.dtype)),
                    ("encoder", code(manifest.encoder.spec)),
                    ("encoder's fingerprint", code(manifest.encoder.fingerprint)),
                    ("views of an item", code(manifest.views or "1")),
                    ("aligned by", code(aligned) if aligned else "nothing: as the encoder gave them"),
                    ("items with conversations", manifest.conversations),
                    ("items left out as unusable", manifest.failures),
                    ("content hash", code(manifest.content_hash)),
                ]
            ),
            f"\n## Columns\n\n{facts((code(column), COLUMNS[column]) for column in manifest.schema.names)}\n",
            _use(store, spec, name or PLACEHOLDER),
            citation(),
            f"## Licence\n\n{NO_LICENCE}\n",
        ]
    )


def _use(store: Store, spec: str, name: str) -> str:
    in_python = f"""## How to use it

{COMMIT_NOTE}

In Python; and with `datasets` alone, from the hub, or a downloaded folder with its `load_from_disk`:

```python
from revision_plugin import Store

store = Store.open("{spec}")
```

```python
from datasets import load_dataset

rows = load_dataset("{name}", revision="COMMIT", split="train")
```
"""
    manifest = store.manifest
    if manifest.aligner:
        return f"{in_python}\nIts texts are aligned already; fits and trainings take them as the encoder gave them.\n"
    source, target, flag = {
        "text": (spec, "IMAGE_STORE", "--data_path"),
        "image": ("TEXT_STORE", spec, "--data_path LLAVA_JSON --revision_image_store"),
    }[manifest.modality]
    view = " --view whole" if manifest.views else ""
    views = (
        f" --revision_views {'VIEWS' if manifest.modality == 'text' else in_shell(manifest.views)}"
        if manifest.views
        else ""
    )
    return f"""{in_python}
On the command line, and in LLaVA's training:

```bash
revision fit --source {source} --target {target}{view} --out aligner
python scripts/train.py --vision_tower revision --revision_encoder "{in_shell(manifest.encoder.spec)}"{views} \\
    {flag} {spec} ...
```
"""

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


def store_card(store: Store, name: str | None = None) -> str:
    """README.md of a store's repository, `name` (OWNER/NAME) where it is known."""
    manifest = store.manifest
    kind = {"text": "texts", "image": "images"}[manifest.modality]
    aligned = manifest.aligner and manifest.aligner.get("method", "an aligner")
    spec = f"hf:{name or PLACEHOLDER}@COMMIT"
    data_files = [{"config_name": "default", "data_files": [{"split": "train", "path": manifest.shards}]}]
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
            _use(spec, name or PLACEHOLDER, manifest.modality, in_shell(manifest.encoder.spec)),
            citation(),
            f"## Licence\n\n{NO_LICENCE}\n",
        ]
    )


def _use(spec: str, name: str, modality: str, encoder: str) -> str:
    flags = {
        "text": (f"revision fit --source {spec} --target IMAGE_STORE --out aligner", f"--data_path {spec}"),
        "image": (f"revision fit --source TEXT_STORE --target {spec} --out aligner", f"--revision_image_store {spec}"),
    }
    fit, training = flags[modality]
    return f"""## How to use it

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

On the command line, and in LLaVA's training (`scripts/train.py`):

```bash
{fit}
python scripts/train.py --vision_tower revision --revision_encoder "{encoder}" {training} ...
```
"""

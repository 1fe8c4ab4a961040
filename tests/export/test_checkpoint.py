"""`revision export --model`: what opens with transformers alone is the model that was trained."""

import pytest
import tiny_families as families
import untrained

from revision_plugin.export.checkpoint import export_checkpoint


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_of_language_models(name, tiny_open_clip, tmp_path):
    """The exporter's own comparison: prompts, pixels, logits to 1e-5 and answers."""
    llm = families.write(tmp_path / "llm", families.FAMILIES[name])
    model = untrained.checkpoint(tmp_path / "model", llm, f"open_clip:{tiny_open_clip}", version="auto")
    export_checkpoint(str(model), tmp_path / "out")

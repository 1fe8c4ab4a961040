"""Writes a trained checkpoint as one folder that opens with transformers alone."""

from __future__ import annotations

import logging
from pathlib import Path

from .._common.folders import new_folder, require_free
from ..hosts import find_host
from ..hosts.hf.native_folder import write_native
from .equality import compare
from .model_card import model_card

logger = logging.getLogger(__name__)
CARD = "README.md"


def export_checkpoint(
    model: str, out: Path, *, base: str | None = None, check: bool = True, results: list[Path] | None = None
) -> None:
    """Write the checkpoint `model`, of any host, with its language model and its encoder's image side into the new
    folder `out`; `base` is the language model of a Stage-1 or LoRA checkpoint. The scores in `results`, folders of
    `revision evaluate`, go into the card.

    With `check` the folder is opened in another process and compared with the trained model before it is there under
    its name. Raises RevisionError where they differ, for what transformers' LLaVA cannot hold, and where nothing can be
    written.
    """
    require_free(out)
    assistant = find_host().load(model, base=base)
    parts = assistant.parts(model, base)
    with new_folder(out) as folder:
        write_native(parts, folder)
        equality = compare(parts, folder) if check else None
        if equality is not None:
            logger.info(
                "the same prompts, pixels and answers on %d questions; logits differ by at most %.1e",
                equality.questions,
                equality.logits,
            )
        (folder / CARD).write_text(model_card(parts, Path(model), equality, results or []), encoding="utf-8")
    logger.info("%s: opens with AutoModelForImageTextToText and AutoProcessor (trust_remote_code=True)", out)

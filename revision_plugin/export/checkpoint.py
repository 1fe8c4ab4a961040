"""Writes a trained checkpoint as one folder that opens with transformers alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from .._common.files import write_text
from .._common.folders import new_folder, require_free
from ..hosts import find_host
from ..hosts.hf.native_folder import write_native
from .cards import CARD
from .equality import compare
from .model_card import History, model_card

logger = logging.getLogger(__name__)


def export_checkpoint(
    model: str,
    out: Path,
    *,
    base: str | None = None,
    check: bool = True,
    results: Sequence[Path] = (),
    name: str | None = None,
) -> None:
    """Write the checkpoint `model`, of any host, with its language model and its encoder's image side into the new
    folder `out`; `base` is the language model of a Stage-1 or LoRA checkpoint. The scores in `results`, folders of
    `revision evaluate`, go into the card, which calls the model `name` (OWNER/NAME) where it is given.

    With `check` the folder is opened in another process and compared with the trained model before it is there under
    its name. Raises RevisionError where they differ, for what transformers' LLaVA cannot hold, and where nothing can be
    written.
    """
    require_free(out)
    history = History.read(Path(model), results)  # before the long work
    assistant = find_host(model=model).load(model, base=base)
    parts = assistant.parts(model, base)
    with new_folder(out) as folder:
        side = write_native(parts, folder)
        equality = compare(parts, folder) if check else None
        if equality is not None:
            logger.info(
                "the same prompts, pixels and answers on %d questions; logits differ by at most %.1e",
                equality.questions,
                equality.logits,
            )
        write_text(folder / CARD, model_card(parts, side, history, equality, name or out.resolve().name))

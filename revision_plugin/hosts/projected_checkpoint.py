"""A checkpoint as far as visual tokens are made: its projector and its token embeddings, of every host's folders.

Read of the files alone: no layer of the language model is loaded, and no host is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._common.files import read_object
from ..aligners import Aligner
from ..embeddings.item_views import WHOLE, require_same_view
from ..embeddings.store import Store
from ..encoders import Identity, require_same
from ..errors import RevisionError
from .llava.weights import PROJECTOR_FILE, read_weights
from .native_form import TRAINED, is_native, require_own_module
from .projector_weights import folder_projector, in_llavas_names, native_tensors, projector_module
from .run_record import COMPLETE
from .token_table import at_first_layer, bare_model, read_table, text_config
from .trained_with import (
    CONFIG,
    checkpoint_step,
    is_step,
    language_model,
    run_folder,
    trained_aligner,
    trained_record,
)
from .weight_files import PATTERNS, PROJECTOR, names_in, require_finite_tensors, saved_names


@dataclass(frozen=True)
class VisualSpace:
    """Where visual tokens meet the tokens of texts: `projector` [N, D] -> [N, H], and `tokens` [V, H], what the first
    layer of the language model is given for each token of its vocabulary; float32.
    """

    projector: nn.Module
    tokens: torch.Tensor


@dataclass(frozen=True)
class ProjectedCheckpoint:
    """A checkpoint, opened as far as its configs: what `open_checkpoints` gives."""

    path: Path
    name: str  # what a report calls it
    training: str
    step: int | None
    base: Path | None  # where the language model lies that the folder has not
    aligner: Aligner
    own_aligner: bool  # whether it is the training's

    def load(self) -> VisualSpace:
        """The projector and the token embeddings. Raises RevisionError for files that are missing, cut, not finite or
        of another kind.
        """
        folder = self.base or self.path
        config = read_object(folder / CONFIG)
        bare = bare_model(text_config(config, str(folder)), str(folder))
        tokens, scale = at_first_layer(bare, self._table(bare), str(folder))
        image = config.get("image_token_index", config.get("image_token_id"))
        if isinstance(image, int):  # of an HF-native folder: the row of the image's mark is never read
            tokens = tokens[torch.arange(len(tokens)) != image]
        elif (self.path / TRAINED).is_file():  # nor is it where the vocabulary grew by it
            tokens = tokens[: bare.config.vocab_size]
        projector = projector_module(self._projector(scale), self.path)
        width = next(each.out_features for each in reversed(projector) if isinstance(each, nn.Linear))
        if tokens.shape[1] != width:
            raise RevisionError(
                f"{self.path}: its projector gives {width} dimensions, the token embeddings have {tokens.shape[1]}"
            )
        return VisualSpace(projector, tokens)

    def _table(self, bare: Any) -> torch.Tensor:
        """The input embeddings [V, H]: the checkpoint's own, else those of the language model below it."""
        files = [names_in(self.path / each) for each in (TRAINED, PROJECTOR_FILE) if (self.path / each).is_file()]
        for names in (*files, saved_names(self.base or self.path)):
            table = read_table(bare, names, str(self.base or self.path))
            if table is not None:
                return table
        raise RevisionError(f"{self.base or self.path}: holds no token embeddings; get it again")

    def _projector(self, scale: float) -> dict[str, torch.Tensor]:
        """The projector's weights by their names in LLaVA's file."""
        if is_native(self.path):
            return folder_projector(self.path, scale)
        if not (self.path / TRAINED).is_file():
            tensors = read_weights(self.path, None if self.base is None else str(self.base)).projector
            return {name.partition(PROJECTOR)[2]: value for name, value in tensors.items()}
        file = self.path / TRAINED
        tensors = native_tensors(names_in(file))
        if not tensors:
            raise RevisionError(f"{file}: holds no weights of a projector, which this training froze")
        require_finite_tensors(file, tensors)
        return in_llavas_names(tensors)


def open_checkpoints(
    paths: Sequence[Path], source: Store, *, base: str | None = None, aligner: Aligner | None = None
) -> list[ProjectedCheckpoint]:
    """The checkpoints at `paths`, which the texts of `source` are given to: aligned by `aligner`, or by that of each
    one's training. `base` is the language model of those that have none in their folder, else what run.json says.

    Folders of every host: a step's (`checkpoint-N`) or a finished training's, of either stage, adapters too. Raises
    RevisionError for anything else, for one whose encoder is not the store's, for two of one name, and where the
    language model or the aligner is missing.
    """
    opened = [_opened(path, source, base, aligner) for path in paths]
    for index, each in enumerate(opened):
        if each.name in [other.name for other in opened[:index]]:
            raise RevisionError(f"--projected {each.path}: another one is called '{each.name}' too; rename one folder")
    if base is not None and all(each.base is None for each in opened):
        raise RevisionError(f"--base {base}: every checkpoint has its language model; leave out --base")
    return opened


def _opened(path: Path, source: Store, base: str | None, aligner: Aligner | None) -> ProjectedCheckpoint:
    if not path.is_dir():
        raise RevisionError(f"--projected {path}: no such folder; give a checkpoint")
    if is_native(path):
        require_own_module(path)
    record = trained_record(path)
    trained = Identity.from_json(record["encoder"], str(path))
    problem = f"{path} was trained with another encoder than {source.path} was made with"
    require_same(trained, source.encoder, problem, "give stores of its own encoder")
    if is_step(path) and not (path / COMPLETE).is_file():
        raise RevisionError(f"{path}: was cut short while it was saved ({COMPLETE} is missing); leave it out")
    place = language_model(path, record, base) if lacks_language_model(path) else None
    parts = (source.view or WHOLE) != WHOLE
    used = aligner or trained_aligner(path, record, parts=parts)
    used.check_encoder(source.encoder, str(source.path))
    require_same_view(str(source.path), source.view, f"the aligner of {path}", used.report.source.view)
    known = record.get("part_aligner" if parts else "aligner")
    own = aligner is None or (isinstance(known, dict) and known.get("hash") == aligner.identity["hash"])
    run = run_folder(path)
    name = f"{run.name}/{path.resolve().name}" if is_step(path) else run.name
    if "$" in name or not name.isprintable():
        raise RevisionError(f"--projected {path}: a name like this cannot be drawn; rename the folder")
    return ProjectedCheckpoint(path, name, run.name, checkpoint_step(path), place, used, own)


def lacks_language_model(path: Path) -> bool:
    """Whether a folder holds parts over a language model alone. Raises RevisionError where it holds no weights."""
    if is_native(path):
        return False
    if (path / TRAINED).is_file() or (path / "adapter_config.json").is_file():
        return True
    whole = any(any(path.glob(pattern)) for pattern in PATTERNS)
    if not whole and not (path / PROJECTOR_FILE).is_file():
        raise RevisionError(
            f"{path}: holds no weights ({PROJECTOR_FILE}, {TRAINED}, {', '.join(PATTERNS)}); the training did not "
            "finish, or DeepSpeed keeps them in its own form"
        )
    return not whole

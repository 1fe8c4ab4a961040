"""The images of a training JSON, read as `revision encode` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from ...corpora.images import outside_problem
from ...corpora.pixels import open_image
from ...errors import RevisionError
from .training import training


class _ImageModule:
    """PIL's module `Image`, as LLaVA's data module uses it, with an `open` of our own."""

    def __init__(self, original: Any):
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def open(self, path: Any, *arguments: Any, **keywords: Any) -> Image.Image:
        """The picture at `path` in RGB. Raises RevisionError for one outside --image_folder, and for no picture."""
        if training.tower is None or training.image_folder is None:
            return self._original.open(path, *arguments, **keywords)
        problem = outside_problem(training.image_folder, str(Path(path).absolute()))
        if problem:
            raise RevisionError(problem)
        return open_image(Path(path))


def one_decoder(original: Any) -> Any:
    """In place of PIL's module, for trainings with the plugin's tower; for others it is what it was."""
    return _ImageModule(original)

"""What may be uploaded, and where it is kept: in a folder of the process, which goes when the process ends."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from .._common.processes import changed_environment
from ..corpora.pixels import open_image
from ..errors import RevisionError

MOST_BYTES = 20 * 2**20
FOLDER_VARIABLE = "GRADIO_TEMP_DIR"  # where gradio keeps what is uploaded
NO_PROXY = ("no_proxy", "NO_PROXY")


@contextlib.contextmanager
def upload_folder(host: str) -> Iterator[Path]:
    """A temporary folder that only this user reads, with a folder in it for gradio's uploads; at the end it is removed
    with all that is there. Inside, what gradio asks its own server at `host` goes through no proxy.
    """
    own = [host, "localhost", "127.0.0.1"]
    direct = {name: ",".join(filter(None, [os.environ.get(name), *own])) for name in NO_PROXY}
    with tempfile.TemporaryDirectory(prefix="revision-demo-") as folder:
        with changed_environment({FOLDER_VARIABLE: str(Path(folder, "uploads")), **direct}):
            yield Path(folder)


def read_upload(path: str | None) -> Image.Image:
    """An uploaded picture as RGB `PIL.Image`, within the limits of every picture. Raises RevisionError, with no path in
    its line, where there is none, it is no longer kept, is too large or does not decode.
    """
    if path is None:
        raise RevisionError("no image is there; drop one, or choose an example")
    file = Path(path)
    if not file.is_file():
        raise RevisionError("the image is no longer kept; drop it again")
    if file.stat().st_size > MOST_BYTES:
        raise RevisionError(f"the image is larger than {MOST_BYTES // 2**20} MiB; give a smaller one")
    try:
        return open_image(file)
    except RevisionError as error:
        raise RevisionError(str(error).replace(path, "the image")) from None

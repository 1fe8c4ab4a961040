"""Reads pickles of plain data and numpy arrays, and nothing else: no code of a file ever runs."""

from __future__ import annotations

import pickle
from pathlib import Path

from ..errors import RevisionError

NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
NUMPY_FUNCTIONS = ("_reconstruct", "scalar", "_frombuffer")


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as '{encoding}'")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if module in NUMPY_MODULES and name in NUMPY_FUNCTIONS:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if module == "numpy" and name in ("ndarray", "dtype"):
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):  # how old protocols write bytes
            return _encode_latin1
        raise pickle.UnpicklingError(f"it wants to call {module}.{name}")

    def persistent_load(self, pid):
        raise pickle.UnpicklingError("it refers to something outside the file")


def load_plain_pickle(path: Path):
    """The pickled value, made only of numpy arrays and numbers, str, bytes, dict, list, tuple, bool and None.

    Raises RevisionError for anything else in the file, and for one that is cut or no pickle.
    """
    try:
        with open(path, "rb") as handle:
            return _PlainUnpickler(handle).load()
    except FileNotFoundError:
        raise RevisionError(f"{path}: no such file") from None
    except pickle.UnpicklingError as error:
        raise RevisionError(
            f"{path}: refused: {error}; only arrays, strings, lists, dicts and numbers are read"
        ) from None
    except (EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError, ImportError, MemoryError) as error:
        raise RevisionError(f"{path}: not a whole pickle of plain data ({type(error).__name__})") from None

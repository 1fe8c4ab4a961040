"""Reads pickles of plain data and arrays of numbers, and nothing else: no code of a file ever runs.

NumPy's own rebuilding functions trust a file's bytes: an array of objects over raw bytes is a list of pointers of the
file's choosing. None of them is called. What a pickle says about an array is collected in stand-ins, checked, and only
then made an array.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .._common.files import open_regular
from ..errors import RevisionError

NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
NUMBERS = re.compile(r"[<>=|]?([biufc])(1|2|4|8|16)")
MOST_DEPTH = 32
MOST_SCANNED = 2**26  # bytes: a larger file has no need of tricks to fill the memory
CONTAINERS = (list, tuple, dict)


def _refuse(reason: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(reason)


class _Dtype:
    """What a pickle says of a dtype."""

    __slots__ = ("_name", "_order")

    def __init__(self, name: object, *_: object):
        if not isinstance(name, str) or not NUMBERS.fullmatch(name):
            raise _refuse(f"it holds an array of {name!r:.40}")
        self._name, self._order = name, "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "=", "|"):
            raise _refuse("it describes an array's type in an unknown way")
        if any(part is not None for part in state[2:5]):
            raise _refuse("it holds an array of records")
        self._order = state[1]

    def dtype(self) -> np.dtype:
        order: Any = "=" if self._order == "|" else self._order
        return np.dtype(self._name).newbyteorder(order)


class _Array:
    """What a pickle says of an array: filled by its state, as NumPy pickles are."""

    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _refuse("it describes an array in an unknown way")
        _, shape, dtype, by_columns, data = state
        self.array = _array(data, dtype, shape, "F" if by_columns else "C")


def _array(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    """An array over `data`, which must hold exactly its numbers."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray, memoryview)):
        raise _refuse("it holds an array of something else than numbers")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if len(sizes) > MOST_DEPTH or not all(isinstance(size, int) and 0 <= size < 2**48 for size in sizes):
        raise _refuse("it holds an array of impossible shape")
    kind = dtype.dtype()
    if math.prod(sizes) * kind.itemsize != len(data):
        raise _refuse("it holds an array whose bytes do not fit its shape")
    return np.frombuffer(data, kind).reshape(sizes, order="F" if order == "F" else "C")


def _scalar(dtype: object, data: object) -> Any:
    return _array(data, dtype, (), "C")[()]


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _refuse(f"it encodes bytes as '{encoding}'")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


class _Maker:
    """A function that a pickle may call and cannot change: it has no attributes to set."""

    __slots__ = ("_function",)
    _function: Callable[..., object]

    def __init__(self, function: Callable[..., object]):
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise _refuse("it sets attributes of a function")

    def __setstate__(self, state: object) -> None:
        raise _refuse("it sets attributes of a function")


MAKERS: dict[str, Callable[..., object]] = {"_reconstruct": _reconstruct, "scalar": _scalar, "_frombuffer": _array}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if module in NUMPY_MODULES and name in MAKERS:
            return _Maker(MAKERS[name])
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _Maker(_Dtype if name == "dtype" else _reconstruct)
        if (module, name) == ("_codecs", "encode"):  # how old protocols write bytes
            return _Maker(_encode_latin1)
        if (module, name) == ("__builtin__", "bytes"):  # and no bytes at all
            return _Maker(_no_bytes)
        raise _refuse(f"it wants to call {module}.{name}")

    def persistent_load(self, pid):
        raise _refuse("it refers to something outside the file")


def load_plain_pickle(path: Path):
    """The pickled value, made only of arrays of numbers and of numbers, str, bytes, dict, list, tuple, bool and None.

    Raises RevisionError for anything else in the file, for one that is cut or no pickle, and for one that nests deeper
    than `MOST_DEPTH`, contains itself, or unfolds to more values than it has bytes.
    """
    try:
        with open_regular(path) as handle:
            size = path.stat().st_size
            if size <= MOST_SCANNED:
                _check_memo(handle.read())
                handle.seek(0)
            value = _unfold(_PlainUnpickler(handle).load(), size)
            if handle.read(1):
                raise _refuse("it holds more after its first value; write one list into one file")
            return value
    except pickle.UnpicklingError as error:
        raise RevisionError(
            f"{path}: refused: {error}; only arrays of numbers, strings, lists, dicts and numbers are read"
        ) from None
    except (EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError, ImportError, MemoryError) as error:
        raise RevisionError(f"{path}: not a whole pickle of plain data ({type(error).__name__})") from None
    except (OverflowError, RecursionError, BufferError, OSError) as error:
        raise RevisionError(f"{path}: not a readable pickle of plain data ({type(error).__name__})") from None


def _check_memo(data: bytes) -> None:
    """Refuse a place in the unpickler's memory beyond the number of bytes: it would be set aside up to there."""
    for operation, argument, _ in pickletools.genops(data):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument is not None and argument > len(data):
            raise _refuse("it remembers a value at a place beyond its own length")


def _unfold(value: Any, size: int) -> Any:
    """`value` with arrays in the place of their stand-ins. A list that is shared counts wherever it occurs: so a few
    bytes can stand for more values than any machine could visit, while a value that is written once takes a byte.
    """
    budget = [size]

    def convert(each: Any, depth: int) -> Any:
        if isinstance(each, _Array):
            if each.array is None:
                raise _refuse("it holds an array without content")
            return each.array
        if isinstance(each, (_Dtype, _Maker)):
            raise _refuse("it holds a type or a function")
        if not isinstance(each, CONTAINERS):
            if isinstance(each, (set, frozenset)):
                raise _refuse("it holds a set")
            return each
        budget[0] -= len(each) + 1
        if depth > MOST_DEPTH or budget[0] < 0:
            raise _refuse("it nests too deep or unfolds to too many values")
        if isinstance(each, dict):
            if not all(isinstance(key, (str, int, float, bool, bytes)) or key is None for key in each):
                raise _refuse("a key is neither text nor a number")
            return {key: convert(item, depth + 1) for key, item in each.items()}
        return type(each)(convert(item, depth + 1) for item in each)

    return convert(value, 0)

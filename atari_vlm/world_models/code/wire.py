"""What crosses the boundary between us and a worker: plain data and arrays as bytes, and back, without trust.

A value is plain data (``None``, bool, int, float, text, lists, dicts with text for keys) that may hold numeric arrays. Tuples
arrive as lists, numpy scalars and arrays without a dimension as Python numbers, arrays of text or objects as lists. On the wire
each part is one byte of kind and what belongs to it; a list of floats alone is one block. :func:`unpack` takes any bytes
whatever: it gives a value or raises :class:`WireError`, and nothing else comes of it.

A value travels in a frame. To the worker: length of the rest, number, seed, operation. From it: length of the rest, the number of
what it answers, outcome.

Both sides read this file; it imports numpy and the standard library only.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

REQUEST, REPLY = struct.Struct("<IIIB"), struct.Struct("<IIB")  # heads of frames
LOAD, CALL, STEP, STEP_ROWS, ROLLOUT, AUDIT = range(6)
DONE, RAISED, UNSENDABLE = range(3)
LIMIT = 1 << 20  # bytes of one reply
_INT_BYTES = 128  # of one whole number: less than any float's largest
_DEPTH = 64  # of lists and dicts in one another
_DIMENSIONS = 8
_KINDS = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()
_DTYPES = [np.dtype(kind) for kind in _KINDS]
_FLOAT64 = _KINDS.index("float64")
_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_SHAPES = [struct.Struct(f"<cBB{n}I") for n in range(_DIMENSIONS + 1)]
_FLOAT, _INT, _COUNT = struct.Struct("<cd"), struct.Struct("<cq"), struct.Struct("<cI")
_VECTOR = struct.Struct("<cBI")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


class WireError(ValueError):
    """These bytes are no value, or this value has no bytes."""


def clean(text: str, limit: int = 500) -> str:
    """``text`` on one line, without control, invisible or direction characters, cut to ``limit``."""
    words = " ".join(text[: 4 * limit].split())
    kept = "".join(c for c in words if unicodedata.category(c) not in _HIDDEN)
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def pack(value: Any) -> bytes:
    """The bytes of a value. Raises :class:`WireError` for what is no plain data."""
    try:
        return _list(value, 0) if type(value) is list else _part(value, 0)
    except RecursionError:
        raise WireError("what holds itself is no plain data") from None


def _part(value: Any, depth: int) -> bytes:
    flat = _FLAT.get(type(value))
    if flat is not None:
        return flat(value)
    for kind, nested in _NESTED.items():
        if isinstance(value, kind):
            return nested(value, depth)
    for kind, flat in _FLAT.items():  # what is derived from these: an IntEnum, a numpy.str_
        if isinstance(value, kind):
            return flat(value)
    raise WireError(f"{type(value).__name__} is no plain data")


def _list(value: Any, depth: int) -> bytes:
    if value and type(value[0]) is float and set(map(type, value)) == _ONLY_FLOATS:
        return struct.pack(f"<cI{len(value)}d", b"F", len(value), *value)
    if depth >= _DEPTH:
        raise _too_deep()
    parts = [_COUNT.pack(b"l", len(value))]
    for item in value:
        flat = _FLAT.get(type(item))
        parts.append(_part(item, depth + 1) if flat is None else flat(item))
    return b"".join(parts)


def _dict(value: dict[str, Any], depth: int) -> bytes:
    if depth >= _DEPTH:
        raise _too_deep()
    parts = [_COUNT.pack(b"m", len(value))]
    for key, item in value.items():
        if not isinstance(key, str):
            raise WireError(f"the keys of a dict are text, a {type(key).__name__} is no plain data")
        parts += _text(key), _part(item, depth + 1)
    return b"".join(parts)


def _odd_array(array: np.ndarray, depth: int) -> bytes:
    """An array of text or objects, or without a dimension; one of another class."""
    if type(array) is not np.ndarray:
        return _array(np.array(array))
    if array.dtype.kind in "OU" or (array.dtype in _CODES and array.ndim == 0):
        return _part(array.tolist(), depth + 1)
    raise WireError(f"an array {array.shape} of {array.dtype} is no plain data")


def _scalar(value: np.generic, depth: int) -> bytes:
    if isinstance(value.item(), np.generic | complex | bytes):
        raise WireError(f"{type(value).__name__} is no plain data")
    return _part(value.item(), depth + 1)


def _array(array: np.ndarray) -> bytes:
    code, ndim = _CODES.get(array.dtype), array.ndim
    if ndim == 1 and code is not None:
        return _VECTOR.pack(b"v", code, len(array)) + array.tobytes()
    if code is None or not 0 < ndim <= _DIMENSIONS or (len(array) and not array.size):
        return _odd_array(array, 0)
    return _SHAPES[ndim].pack(b"a", code, ndim, *array.shape) + array.tobytes()


def _int(value: int) -> bytes:
    if -(1 << 63) <= value < 1 << 63:
        return _INT.pack(b"i", value)
    if value.bit_length() >= 8 * _INT_BYTES:
        raise WireError("a whole number of more than 1,023 bits is no plain data")
    data = value.to_bytes(_INT_BYTES, "little", signed=True)
    return _COUNT.pack(b"z", len(data)) + data


def _text(value: str) -> bytes:
    try:
        text = value.encode()
    except UnicodeEncodeError:
        raise WireError("text that UTF-8 cannot hold is no plain data") from None
    return _COUNT.pack(b"s", len(text)) + text


_FLAT: dict[type, Callable[[Any], bytes]] = {
    float: partial(_FLOAT.pack, b"d"),
    bool: {False: b"f", True: b"t"}.__getitem__,
    int: _int,
    str: _text,
    type(None): {None: b"n"}.__getitem__,
    np.ndarray: _array,
}
_NESTED: dict[type, Callable[[Any, int], bytes]] = {
    list: _list,
    tuple: _list,
    dict: _dict,
    np.ndarray: _odd_array,
    np.generic: _scalar,
}
_ONLY_FLOATS = {float}


def _too_deep() -> WireError:
    return WireError(f"lists and dicts are at most {_DEPTH} deep in one another")


def unpack(data: bytes, at: int = 0, plain: bool = False) -> Any:
    """The value of these bytes from ``at`` on; arrays are fresh and writable, or lists where ``plain``.

    Raises :class:`WireError` for bytes that are no value: kinds, lengths, types, depths, text that UTF-8 does not hold, a rest.
    """
    try:
        value, end = _READERS[data[at]](data, at, plain, 0)
    except WireError:
        raise
    except (ValueError, struct.error, LookupError, OverflowError, MemoryError) as error:
        raise WireError(f"these bytes are no value: {error}") from None
    if end != len(data):
        raise WireError("these bytes are more than a value")
    return value


def _read_list(data: bytes, at: int, plain: bool, depth: int) -> tuple[list[Any], int]:
    n: int = _COUNT.unpack_from(data, at)[1]
    at += 5
    if depth >= _DEPTH or n > len(data) - at:
        raise _too_deep() if depth >= _DEPTH else _too_long()
    items: list[Any] = []
    for _ in range(n):
        kind = data[at]
        if kind == 100:  # d, here once more: most of what crosses
            items.append(_FLOAT.unpack_from(data, at)[1])
            at += 9
        elif kind == 116 or kind == 102:  # t f
            items.append(kind == 116)
            at += 1
        elif kind == 110:  # n
            items.append(None)
            at += 1
        else:
            item, at = _READERS[kind](data, at, plain, depth + 1)
            items.append(item)
    return items, at


def _read_dict(data: bytes, at: int, plain: bool, depth: int) -> tuple[dict[str, Any], int]:
    n, at = _count(data, at)
    if depth >= _DEPTH:
        raise _too_deep()
    items = {}
    for _ in range(n):
        if data[at] != 115:
            raise WireError("the keys of a dict are text")
        key, at = _read_text(data, at, plain, depth)
        items[key], at = _READERS[data[at]](data, at, plain, depth + 1)
    return items, at


def _read_floats(data: bytes, at: int, plain: bool, depth: int) -> tuple[list[float], int]:
    n, at = _count(data, at)
    return list(struct.unpack_from(f"<{n}d", data, at)), at + 8 * n


def _read_text(data: bytes, at: int, plain: bool, depth: int) -> tuple[str, int]:
    at += 5
    end: int = at + _COUNT.unpack_from(data, at - 5)[1]
    if end > len(data):
        raise WireError("text that is longer than its bytes")
    return data[at:end].decode(), end


def _read_big(data: bytes, at: int, plain: bool, depth: int) -> tuple[int, int]:
    n, at = _count(data, at)
    if n != _INT_BYTES:
        raise WireError(f"a whole number has {_INT_BYTES} bytes")
    return int.from_bytes(data[at : at + n], "little", signed=True), at + n


def _count(data: bytes, at: int) -> tuple[int, int]:
    """How many follow: never more than there are bytes left."""
    n: int = _COUNT.unpack_from(data, at)[1]
    if n > len(data) - at - 5:
        raise _too_long()
    return n, at + 5


def _too_long() -> WireError:
    return WireError("more is announced than there is")


def _read_vector(data: bytes, at: int, plain: bool, depth: int) -> tuple[Any, int]:
    _, code, n = _VECTOR.unpack_from(data, at)
    if plain and code == _FLOAT64:
        return list(struct.unpack_from(f"<{n}d", data, at + 6)), at + 6 + 8 * n
    array, end = _numbers(data, at + 6, _DTYPES[code], n)
    return (array.tolist() if plain else array.copy()), end


def _read_array(data: bytes, at: int, plain: bool, depth: int) -> tuple[Any, int]:
    form = _SHAPES[data[at + 2]]
    _, code, _, *shape = form.unpack_from(data, at)
    if shape[0] and 0 in shape:  # as lists, millions of rows would come of no bytes
        raise WireError("an array of rows has something in them")
    array, end = _numbers(data, at + form.size, _DTYPES[code], prod(shape))
    array = array.reshape(shape)
    return (array.tolist() if plain else array.copy()), end


def _numbers(data: bytes, at: int, dtype: np.dtype[Any], n: int) -> tuple[np.ndarray, int]:
    end = at + n * dtype.itemsize
    if end > len(data):
        raise WireError("an array that is longer than its bytes")
    if n == 0:
        return np.zeros(0, dtype), at
    array = np.frombuffer(data, dtype, n, at)
    if dtype is _DTYPES[0]:
        array = array.view(np.uint8) != 0  # any other byte than 0 and 1 would be an odd truth
    return array, end


_READERS: dict[int, Callable[[bytes, int, bool, int], tuple[Any, int]]] = {
    ord("a"): _read_array,
    ord("v"): _read_vector,
    ord("d"): lambda data, at, plain, depth: (_FLOAT.unpack_from(data, at)[1], at + 9),
    ord("i"): lambda data, at, plain, depth: (_INT.unpack_from(data, at)[1], at + 9),
    ord("s"): _read_text,
    ord("t"): lambda data, at, plain, depth: (True, at + 1),
    ord("f"): lambda data, at, plain, depth: (False, at + 1),
    ord("n"): lambda data, at, plain, depth: (None, at + 1),
    ord("F"): _read_floats,
    ord("m"): _read_dict,
    ord("z"): _read_big,
    ord("l"): _read_list,
}

"""What crosses the boundary between us and a worker: plain data and arrays as bytes, and back, without trust.

A value is plain data (``None``, bool, int, float, text, lists, dicts with text for keys) that may hold numeric arrays. Tuples
arrive as lists, numpy scalars and arrays without a dimension as Python numbers, arrays of text or objects as lists. Three forms,
by the first byte: ``L`` a short list of numbers and arrays (the lean one), ``J`` JSON, ``M`` JSON beside arrays. :func:`unpack`
takes any bytes whatever: it gives a value or raises :class:`WireError`, and nothing else comes of it.

Both sides read this file; it imports numpy and the standard library only.
"""

from __future__ import annotations

import json
import struct
import unicodedata
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

LIMIT = 1 << 20  # bytes of one reply
_DEPTH = 64  # of lists and dicts in one another
_DIMENSIONS = 8
_ARRAY = "\0array"  # key of a dict that stands for an array in form M
_KINDS = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()
_DTYPES = [np.dtype(kind) for kind in _KINDS]
_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_SHAPES = [struct.Struct(f"<BB{n}I") for n in range(_DIMENSIONS + 1)]
_FLOAT, _INT, _COUNT = struct.Struct("<cd"), struct.Struct("<cq"), struct.Struct("<cI")
_ITEMS = 16  # of form L
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
    if type(value) in (tuple, list) and 0 < len(value) <= _ITEMS:
        parts = [b"L"]
        for item in value:
            write = _WRITERS.get(type(item))
            part = write(item) if write is not None else None
            if part is None:
                break
            parts.append(part)
        else:
            return b"".join(parts)
    return _pack_json(value)


def _array_item(array: np.ndarray) -> bytes | None:
    if array.dtype not in _CODES or not 0 < array.ndim <= _DIMENSIONS:
        return None
    return b"a" + _array_bytes(array)


def _int_item(value: Any) -> bytes | None:
    return _INT.pack(b"i", value) if -(1 << 63) <= value < 1 << 63 else None


def _text_item(value: str) -> bytes | None:
    try:
        text = value.encode()
    except UnicodeEncodeError:  # half a pair: JSON says so
        return None
    return _COUNT.pack(b"s", len(text)) + text


_WRITERS: dict[type, Callable[[Any], bytes | None]] = {
    np.ndarray: _array_item,
    float: lambda value: _FLOAT.pack(b"f", value),
    np.float64: lambda value: _FLOAT.pack(b"f", value),
    np.float32: lambda value: _FLOAT.pack(b"f", value),
    int: _int_item,
    np.int64: _int_item,
    str: _text_item,
    bool: lambda value: b"y" if value else b"n",
    np.bool_: lambda value: b"y" if value else b"n",
}


def _array_bytes(array: np.ndarray) -> bytes:
    return _SHAPES[array.ndim].pack(_CODES[array.dtype], array.ndim, *array.shape) + array.tobytes()


def _pack_json(value: Any) -> bytes:
    arrays: list[bytes] = []

    def plain(item: Any) -> Any:
        if isinstance(item, np.generic):
            return _scalar(item)
        if not isinstance(item, np.ndarray):
            raise WireError(f"{type(item).__name__} is no plain data")
        if item.ndim == 0 or item.dtype not in _CODES:
            return _listed(item)
        if item.ndim > _DIMENSIONS:
            raise WireError(f"an array has at most {_DIMENSIONS} dimensions")
        arrays.append(_array_bytes(np.asarray(item)))
        return {_ARRAY: len(arrays) - 1}

    try:
        text = json.dumps(value, ensure_ascii=False, default=plain).encode()
        if b"{" in text:
            _check_keys(value)
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise WireError(f"it is no plain data: {error}") from None
    return b"".join((_COUNT.pack(b"M", len(text)), text, *arrays)) if arrays else b"J" + text


def _scalar(item: Any) -> Any:
    value = item.item()
    if isinstance(value, np.generic | complex | bytes):
        raise WireError(f"{type(item).__name__} is no plain data")
    return value


def _listed(array: np.ndarray) -> Any:
    """An array without a dimension as a number, one of text or of Python objects as lists."""
    if array.ndim == 0 and array.dtype in _CODES:
        return array.item()
    if array.dtype.kind not in "OU":
        raise WireError(f"an array of {array.dtype} is no plain data")
    return array.tolist()


def _check_keys(value: Any) -> None:
    """JSON would make text of other keys silently."""
    level = [value] if isinstance(value, (list, tuple, dict)) else []
    while level:
        for item in level:
            for key in item if isinstance(item, dict) else ():
                if not isinstance(key, str) or key == _ARRAY:
                    raise WireError(f"the keys of a dict are text, got {key!r:.50}")
        level = _children(level)


def _children(level: list[Any]) -> list[Any]:
    """The containers within containers."""
    return [
        child
        for item in level
        for child in (item.values() if isinstance(item, dict) else item)
        if isinstance(child, (list, tuple, dict))
    ]


def unpack(data: bytes, *, plain: bool = False) -> Any:
    """The value of these bytes; arrays are fresh and writable, or lists where ``plain``.

    Raises :class:`WireError` for bytes that are no value: wrong forms, lengths, types, depths, keys, text that UTF-8 does not
    hold.
    """
    try:
        return _FORMS[data[:1]](data, plain)
    except WireError:
        raise
    except (ValueError, struct.error, LookupError, TypeError, OverflowError) as error:
        raise WireError(f"these bytes are no value: {error}") from None
    except (RecursionError, MemoryError) as error:
        raise WireError(f"this value is too large: {type(error).__name__}") from None


def _unpack_items(data: bytes, plain: bool) -> list[Any]:
    items: list[Any] = []
    at, end = 1, len(data)
    while at < end:
        kind = data[at]
        if kind == 97:  # a
            array, at = _read_array(data, at + 1, plain)
            items.append(array)
        elif kind == 102:  # f
            items.append(_FLOAT.unpack_from(data, at)[1])
            at += 9
        elif kind == 105:  # i
            items.append(_INT.unpack_from(data, at)[1])
            at += 9
        elif kind in (121, 110):  # y n
            items.append(kind == 121)
            at += 1
        elif kind == 115:  # s
            at += 5 + (size := _COUNT.unpack_from(data, at)[1])
            items.append(str(data[at - size : at], "utf-8"))
        else:
            raise WireError(f"no kind of item {kind}")
        if len(items) > _ITEMS:
            raise WireError(f"more than {_ITEMS} items")
    return items


def _read_array(data: bytes, at: int, plain: bool) -> tuple[Any, int]:
    dtype, ndim = _DTYPES[data[at]], data[at + 1]
    form = _SHAPES[ndim]
    shape = form.unpack_from(data, at)[2:]
    at += form.size
    count = shape[0] if ndim == 1 else prod(shape)
    if count * dtype.itemsize > len(data) - at:
        raise WireError("an array that is longer than its bytes")
    array = np.frombuffer(data, dtype, count, at) if count else np.zeros(0, dtype)
    if dtype.kind == "b":
        array = array.view(np.uint8) != 0  # any other byte than 0 and 1 would be an odd truth
    if ndim != 1:
        array = array.reshape(shape)
    return (array.tolist() if plain else array.copy()), at + count * dtype.itemsize


def _unpack_json(data: bytes, plain: bool) -> Any:
    return _checked(data[1:], None)


def _unpack_mixed(data: bytes, plain: bool) -> Any:
    at = _COUNT.size + _COUNT.unpack_from(data)[1]
    text = data[_COUNT.size : at]
    arrays = []
    while at < len(data):
        array, at = _read_array(data, at, plain)
        arrays.append(array)

    def place(item: dict[str, Any]) -> Any:
        return arrays[_index(item[_ARRAY], len(arrays))] if _ARRAY in item else item

    return _checked(text, place)


def _index(value: Any, n: int) -> int:
    if type(value) is not int or not 0 <= value < n:
        raise WireError("an array that is not there")
    return value


def _checked(text: bytes, place: Callable[[dict[str, Any]], Any] | None) -> Any:
    value = json.loads(text.decode(), object_hook=place)
    if b"\\u" in text:
        json.dumps(value, ensure_ascii=False, default=lambda array: None).encode()
    if text.count(b"[") + text.count(b"{") > _DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, (list, dict)) else []
    for _ in range(_DEPTH):
        if not level:
            return
        level = _children(level)
    raise WireError(f"lists and dicts are at most {_DEPTH} deep in one another")


_FORMS: dict[bytes, Callable[[bytes, bool], Any]] = {
    b"L": _unpack_items,
    b"J": _unpack_json,
    b"M": _unpack_mixed,
}

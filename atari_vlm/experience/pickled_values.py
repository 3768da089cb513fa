"""Pickles of numpy arrays, read without unpickling.

A pickle is a program. Here it is not run by Python's machine but read by a small one of our own: it knows the instructions that
plain data and arrays need, builds numbers, texts, bytes, lists, tuples and dicts, and notes what would have been called without
ever importing or calling it. Arrays of numbers and texts are then built from those notes and their bytes; every other note
(tensors, devices, spaces, random generators) stays one. Bytes that hold another pickle are never opened.
"""

from __future__ import annotations

import math
import pickletools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError

_MOST_STEPS = 8_000_000
_LONGEST_TEXT = 256
_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|U[1-9]\d{0,2}")
_ARRAYS = {f"{core}._reconstruct" for core in ("numpy.core.multiarray", "numpy._core.multiarray")}
_SCALARS = {f"{core}.scalar" for core in ("numpy.core.multiarray", "numpy._core.multiarray")}
_SPACES = re.compile(r"(gymnasium\.spaces|numpy\.random)(\.\w+)+")  # with their random generators
_NOTED = {  # everything else that a buffer may name
    *(_ARRAYS | _SCALARS),
    *("numpy.ndarray", "numpy.dtype"),
    *("torch.device", "torch._utils._rebuild_tensor_v2", "torch.storage._load_from_bytes"),
    "collections.OrderedDict",
}
_VALUES = {  # instructions whose argument is the value
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(eq=False)
class Named:
    """Something that the pickle names; nothing was imported."""

    name: str


@dataclass(eq=False)
class Call:
    """A call that the pickle asks for, and the state it would have set; nothing was called."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def parse(data: bytes) -> Any:
    """What a pickle describes, as plain values, :class:`Named` and :class:`Call`; ``ConfigError`` for other instructions."""
    reader = _Reader()
    for step, (code, argument, _) in enumerate(pickletools.genops(data)):
        if code.name == "STOP":
            return reader.pop()
        if step >= _MOST_STEPS:
            raise ConfigError(f"it has more than {_MOST_STEPS:,} instructions")
        reader.take(code.name, argument)
    raise ConfigError("it stops in the middle")


class _Reader:
    """The stack and the memory of a pickle that is read."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: list[Any] = []

    def pop(self) -> Any:
        """The topmost value."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ConfigError("it takes what is not there")
        return self._stack.pop()

    def take(self, code: str, argument: Any) -> None:
        """Follow one instruction."""
        if code in _VALUES:
            self._stack.append(argument)
        elif code in _CONSTANTS:
            self._stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            self._stack.append(_EMPTY[code]())
        elif code in _TUPLES:
            self._stack.append(tuple(self._last(_TUPLES[code])))
        elif code in _STEPS:
            _STEPS[code](self, argument)
        else:
            raise ConfigError(f"it holds the instruction {code}, which no buffer needs")

    def skip(self, argument: Any) -> None:
        """``PROTO`` and ``FRAME`` say nothing of the content."""

    def mark(self, argument: Any) -> None:
        self._marks.append(len(self._stack))

    def since_mark(self) -> list[Any]:
        if not self._marks:
            raise ConfigError("it closes what was not opened")
        begin = self._marks.pop()
        values = self._stack[begin:]
        del self._stack[begin:]
        return values

    def make_tuple(self, argument: Any) -> None:
        self._stack.append(tuple(self.since_mark()))

    def memoize(self, argument: Any) -> None:
        self._memory.append(self._top(object))

    def recall(self, argument: int) -> None:
        if argument >= len(self._memory):
            raise ConfigError("it remembers what it never saw")
        self._stack.append(self._memory[argument])

    def extend(self, argument: Any) -> None:
        values = self.since_mark()
        self._top(list).extend(values)

    def append(self, argument: Any) -> None:
        value = self.pop()
        self._top(list).append(value)

    def set_item(self, argument: Any) -> None:
        key, value = self._last(2)
        self._set([key, value])

    def set_items(self, argument: Any) -> None:
        self._set(self.since_mark())

    def name(self, argument: Any) -> None:
        module, attribute = self._last(2)
        name = f"{module}.{attribute}"
        if name not in _NOTED and not _SPACES.fullmatch(name):
            raise ConfigError(
                f"it names {name[:100]!r}, which no buffer needs: it may be made to do harm"
            )
        self._stack.append(Named(name))

    def call(self, argument: Any) -> None:
        what, arguments = self._last(2)
        if not isinstance(what, Named) or not isinstance(arguments, tuple):
            raise ConfigError("it calls what is no name")
        self._stack.append(Call(what.name, arguments))

    def set_state(self, argument: Any) -> None:
        state = self.pop()
        self._top(Call).state = state

    def _top(self, kind: type[Any]) -> Any:
        value = self.pop()
        if not isinstance(value, kind):
            raise ConfigError(f"it takes a {type(value).__name__} for a {kind.__name__}")
        self._stack.append(value)
        return value

    def _last(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    def _set(self, flat: list[Any]) -> None:
        target = self._top(dict)
        if len(flat) % 2 or not all(isinstance(key, (str, int)) for key in flat[::2]):
            raise ConfigError("it has a dict whose keys are no words")
        target.update(zip(flat[::2], flat[1::2], strict=True))


_STEPS = {
    "PROTO": _Reader.skip,
    "FRAME": _Reader.skip,
    "MARK": _Reader.mark,
    "TUPLE": _Reader.make_tuple,
    "MEMOIZE": _Reader.memoize,
    "BINGET": _Reader.recall,
    "LONG_BINGET": _Reader.recall,
    "APPEND": _Reader.append,
    "APPENDS": _Reader.extend,
    "SETITEM": _Reader.set_item,
    "SETITEMS": _Reader.set_items,
    "STACK_GLOBAL": _Reader.name,
    "REDUCE": _Reader.call,
    "NEWOBJ": _Reader.call,
    "BUILD": _Reader.set_state,
}


def array_of(value: Any) -> np.ndarray:
    """The array or numpy number that a :class:`Call` notes, or that of a plain number or text; ``ConfigError`` for anything else.

    An array of objects is read where all of them are texts.
    """
    if isinstance(value, (bool, int, float, str)):
        return np.array(value)
    if isinstance(value, Call) and value.name in _SCALARS and len(value.arguments) == 2:
        kind, data = value.arguments
        return _from_bytes(data, _dtype(kind), (), "C")
    if isinstance(value, Call) and value.name in _ARRAYS and isinstance(value.state, tuple):
        if len(value.state) == 5:
            _, shape, kind, fortran, data = value.state
            order = "F" if fortran is True else "C"
            if isinstance(data, list):
                return _of_texts(data, shape, order)
            return _from_bytes(data, _dtype(kind), shape, order)
    raise ConfigError("it has something else where an array of numbers is meant")


def _dtype(kind: Any) -> np.dtype[Any]:
    """A type of numbers or texts, from how numpy writes it: its word and, in its state, the byte order."""
    noted = isinstance(kind, Call) and kind.name == "numpy.dtype" and len(kind.arguments) > 0
    word = kind.arguments[0] if noted else None
    order = kind.state[1] if noted and isinstance(kind.state, tuple) and kind.state[1:] else "="
    if not isinstance(word, str) or not _DTYPE.fullmatch(word) or order not in ("<", ">", "|", "="):
        raise ConfigError(f"it has an array of {str(word)[:40]!r}: only numbers and texts are read")
    return np.dtype(word if order == "|" else order + word)


def _from_bytes(data: Any, dtype: np.dtype[Any], shape: Any, order: Any) -> np.ndarray:
    size = _size(shape) * dtype.itemsize
    if not isinstance(data, bytes) or size != len(data):
        raise ConfigError("it has an array whose bytes are not of its shape")
    flat = np.frombuffer(data, np.uint8) != 0 if dtype.kind == "b" else np.frombuffer(data, dtype)
    return flat.reshape(shape, order=order).astype(dtype.newbyteorder("="))


def _of_texts(data: list[Any], shape: Any, order: Any) -> np.ndarray:
    if len(data) != _size(shape) or not all(isinstance(text, str) for text in data):
        raise ConfigError("it has an array of objects: only texts are read")
    longest = max(map(len, data), default=0)
    if longest > _LONGEST_TEXT:
        raise ConfigError(f"it has an array with a text of {longest} characters")
    return np.array(data, f"U{max(longest, 1)}").reshape(shape, order=order)


def _size(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ConfigError("it has an array without a shape")
    return math.prod(shape)

"""Spaces as JSON data and back: those a buffer or a checkpoint can have.

``Discrete``, ``Box``, ``MultiDiscrete``, ``MultiBinary``, ``Text``, and ``Tuple`` and ``Dict`` of them. JSON has no infinity, so
the bounds of a ``Box`` may be the words ``"inf"`` and ``"-inf"``; a bound that is the same everywhere is written once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from atari_vlm.errors import ConfigError, UnknownNameError, reading

Plain = Mapping[str, Any]
_MOST_NUMBERS = 1 << 24  # of one space, as a stranger writes it
_DEEPEST = 16
_DTYPES = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
)


def space_to_json(space: gymnasium.Space[Any]) -> dict[str, Any]:
    """JSON data that :func:`space_from_json` makes an equal space of; ``ConfigError`` for other kinds of spaces."""
    if isinstance(space, Dict):
        return {"space": "Dict", "spaces": [[k, space_to_json(s)] for k, s in space.items()]}
    if isinstance(space, Tuple):
        return {"space": "Tuple", "spaces": [space_to_json(s) for s in space.spaces]}
    if isinstance(space, Discrete):
        return {"space": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, (Box, MultiDiscrete)):
        bounds = ("low", "high") if isinstance(space, Box) else ("nvec", "start")
        numbers = {name: _packed(getattr(space, name)) for name in bounds}
        return {"space": type(space).__name__, **numbers, **_form(space)}
    if isinstance(space, MultiBinary):
        return {"space": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, Text):
        lengths = {"min_length": space.min_length, "max_length": space.max_length}
        return {"space": "Text", **lengths, "charset": "".join(sorted(space.character_set))}
    raise ConfigError(
        f"a {type(space).__name__} space cannot be written; spaces are {', '.join(_READERS)}"
    )


def space_from_json(value: Any, where: str = "the space") -> gymnasium.Space[Any]:
    """The space that :func:`space_to_json` wrote; ``ConfigError``, which calls it ``where``, for anything else."""
    with reading(where, ConfigError):
        return _space(value, 0)


def _space(value: Any, depth: int) -> gymnasium.Space[Any]:
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        raise ConfigError("a space is an object with the name of its kind under 'space'")
    kind = value.get("space")
    if kind not in _READERS:
        raise UnknownNameError("space", kind, _READERS)
    return _READERS[kind](value, depth)


def _form(space: Box | MultiDiscrete) -> dict[str, Any]:
    return {"shape": list(space.shape), "dtype": str(np.dtype(space.dtype))}


def _packed(numbers: np.ndarray) -> Any:
    """Numbers as nested lists, or one for all."""
    one = numbers.size > 0 and bool((numbers == numbers.flat[0]).all())
    return _worded(numbers.flat[0].item() if one else numbers.tolist())


def _worded(number: Any) -> Any:
    if isinstance(number, list):
        return [_worded(item) for item in number]
    return str(number) if isinstance(number, float) and math.isinf(number) else number


def _numbers(value: Plain, name: str) -> np.ndarray:
    """The numbers ``name`` in the space's shape and type."""
    shape, dtype = _shape(value), value["dtype"]
    if dtype not in _DTYPES:
        raise UnknownNameError("dtype of a space", dtype, _DTYPES)
    with np.errstate(over="ignore"):
        given = np.array(_unworded(value[name]), dtype)
    if given.shape not in ((), shape):
        raise ConfigError(f"{name} has the shape {given.shape}, the space {shape}")
    return np.broadcast_to(given, shape).copy()


def _unworded(value: Any) -> Any:
    if isinstance(value, list):
        return [_unworded(item) for item in value]
    if isinstance(value, str) and value not in ("inf", "-inf"):
        raise ConfigError(f"{value!r} is no number")
    return float(value) if isinstance(value, str) else value


def _shape(value: Plain) -> tuple[int, ...]:
    shape = value["shape"]
    whole = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not whole or math.prod(shape) > _MOST_NUMBERS:
        raise ConfigError(f"{shape!r} is no shape of a space")
    return tuple(shape)


def _whole(value: Plain, name: str) -> int:
    number = value[name]
    if type(number) is not int:
        raise ConfigError(f"{name} is a whole number, got {number!r}")
    return number


def _box(value: Plain, depth: int) -> Box:
    low, high = _numbers(value, "low"), _numbers(value, "high")
    if not (low <= high).all():
        raise ConfigError("a bound below is above the one above")
    return Box(low, high, dtype=low.dtype.type)


def _multi_discrete(value: Plain, depth: int) -> MultiDiscrete:
    nvec = _numbers(value, "nvec")
    return MultiDiscrete(nvec, dtype=nvec.dtype.type, start=_numbers(value, "start"))


def _multi_binary(value: Plain, depth: int) -> MultiBinary:
    shape = _shape(value)
    return MultiBinary(shape[0] if len(shape) == 1 else shape)


def _text(value: Plain, depth: int) -> Text:
    charset = value["charset"]
    if not isinstance(charset, str):
        raise ConfigError(f"a charset is a string, got {charset!r:.80}")
    shortest, longest = _whole(value, "min_length"), _whole(value, "max_length")
    return Text(longest, min_length=shortest, charset=charset)


def _tuple(value: Plain, depth: int) -> Tuple:
    return Tuple([_space(part, depth + 1) for part in value["spaces"]])


def _dict(value: Plain, depth: int) -> Dict:
    return Dict({str(name): _space(part, depth + 1) for name, part in value["spaces"]})


_READERS: dict[str, Callable[[Plain, int], gymnasium.Space[Any]]] = {
    "Box": _box,
    "Dict": _dict,
    "Discrete": lambda value, depth: Discrete(_whole(value, "n"), start=_whole(value, "start")),
    "MultiBinary": _multi_binary,
    "MultiDiscrete": _multi_discrete,
    "Text": _text,
    "Tuple": _tuple,
}

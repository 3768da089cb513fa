"""Dataclasses from plain data (YAML, JSON, keywords): one way to make, change, compare and flatten options.

A value is taken as the field's annotation says: a list where a tuple is meant, a whole number where a float is, a text where a
path is; everything else is refused by name. Unknown names are refused with the nearest one.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from atari_vlm.errors import ConfigError, UnknownNameError

T = TypeVar("T")


def from_plain(kind: type[T], values: Any, where: str = "settings", base: T | None = None) -> T:
    """A dataclass of ``kind`` from a (nested) mapping; what the mapping leaves out is as in ``base``, else the default.

    Raises ``UnknownNameError`` for a name that ``kind`` has not and ``ConfigError`` for a value of another type; ``where`` is
    how the message calls the mapping.
    """
    made = typed(kind, values, where, base)
    if base is not None:
        return dataclasses.replace(base, **made)  # type: ignore[type-var]
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    missing = [item.name for item in fields if _is_needed(item) and item.name not in made]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    return kind(**made)


def typed(kind: type[Any], values: Any, where: str, base: Any = None) -> dict[str, Any]:
    """The values of a mapping as the fields of ``kind`` want them, see :func:`from_plain`; nothing is made of them yet."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is a group of options, got {values!r}")
    check_names(values, [item.name for item in dataclasses.fields(kind)], f"name in {where}")
    hints = _hints(kind)  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    for name, value in values.items():
        old = getattr(base, name, None)
        if dataclasses.is_dataclass(old) and not isinstance(value, type(old)):
            made[name] = from_plain(type(old), value, f"{where}.{name}", old)  # type: ignore[arg-type]
        elif isinstance(old, Mapping) and isinstance(value, Mapping):
            made[name] = {**old, **value}  # of a mapping, too, what is not named stays
        else:
            made[name] = _as(hints[name], value, f"{where}.{name}")
    return made


def with_changes(settings: T, changes: Any, where: str = "settings") -> T:
    """``settings`` with some fields replaced by those of a nested mapping, see :func:`from_plain`."""
    return from_plain(type(settings), changes, where, settings)


def check_names(names: Collection[Any], known: Collection[str], what: str) -> None:
    """Raise ``UnknownNameError`` for the first name that is not known; ``what`` says what it would be a name of."""
    for name in names:
        if name not in known:
            raise UnknownNameError(what, name, known)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in settings.items():
        leaves |= (
            flat(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{name}": value}
        )
    return leaves


def is_same(first: Any, second: Any) -> bool:
    """Whether two values are equal as plain data: a tuple equals the list of its values, a path its text."""
    return bool(plain(first) == plain(second))


def plain(value: Any) -> Any:
    """A value as YAML and JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _is_needed(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _as(kind: Any, value: Any, where: str) -> Any:
    """``value`` as an annotation says, or ``ConfigError``."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _as_one_of(inner, value, where)
    if origin is Literal:
        if not any(value == allowed and type(value) is type(allowed) for allowed in inner):
            raise UnknownNameError(where, value, [str(allowed) for allowed in inner])
        return value
    if origin in (tuple, list) and isinstance(value, (list, tuple)):
        return _as_sequence(origin, inner, value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        return from_plain(kind, value, where)
    if kind is float and (number := _as_float(value)) is not None:
        return number
    if kind is Path and isinstance(value, str):
        return Path(value)
    checked = origin or kind
    if checked is Any or not isinstance(checked, type) or getattr(checked, "_is_protocol", False):
        return value  # Any, and what no class stands for
    if not isinstance(value, checked) or (isinstance(value, bool) and checked in (int, float)):
        raise ConfigError(f"{where} is of type {checked.__name__}, got {value!r}")
    return value


def _as_one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    for kind in sorted(kinds, key=lambda kind: kind is not type(value)):  # its own type first
        try:
            return _as(kind, value, where)
        except ConfigError:
            if len(kinds) == 1:
                raise
    raise ConfigError(f"{where} is one of {', '.join(map(_word, kinds))}, got {value!r}")


def _as_sequence(origin: Any, inner: tuple[Any, ...], value: Any, where: str) -> Any:
    kinds = inner[:1] * len(value) if origin is list or inner[1:] == (Ellipsis,) else inner
    if inner and len(kinds) != len(value):
        raise ConfigError(f"{where} holds {len(kinds)} values, got {value!r}")
    items = (
        [_as(kind, item, where) for kind, item in zip(kinds, value, strict=True)]
        if inner
        else value
    )
    return origin(items)


def _as_float(value: Any) -> float | None:
    """YAML 1.1 reads ``1e-4`` as a text."""
    if type(value) is int or type(value) is float:
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _word(kind: Any) -> str:
    options = typing.get_args(kind)
    return " | ".join(map(repr, options)) if options else getattr(kind, "__name__", str(kind))

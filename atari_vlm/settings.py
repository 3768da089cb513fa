"""Dataclasses from plain data: one way to change, compare and refuse options."""

from __future__ import annotations

import dataclasses
from typing import Any

from atari_vlm.errors import ConfigError, UnknownNameError


def with_changes(settings: Any, changes: dict[str, Any], where: str = "settings") -> Any:
    """``settings`` with some fields replaced by those of a nested mapping (as read from YAML); unknown names are refused."""
    fields = {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
    chosen = {}
    for name, value in changes.items():
        if name not in fields:
            raise UnknownNameError(f"name in {where}", name, fields)
        old = fields[name]
        if dataclasses.is_dataclass(old):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}.{name} is a group of options, got {value!r}")
            chosen[name] = with_changes(old, value, f"{where}.{name}")
        else:
            chosen[name] = _like(old, value, f"{where}.{name}")
    return dataclasses.replace(settings, **chosen)


def _like(old: Any, value: Any, where: str) -> Any:
    """``value`` as the type of ``old``."""
    if isinstance(old, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(old, float) and type(value) is int:
        return float(value)
    if old is not None and type(value) is not type(old):
        raise ConfigError(f"{where} is of type {type(old).__name__}, got {value!r}")
    return value

"""Names that load their module when first used, and optional dependencies that explain themselves when absent.

Registries in this package hold strings; this module is the one place that turns a string into an object.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Generic, TypeVar

from atari_vlm.errors import MissingDependencyError

T = TypeVar("T")


def load(entry_point: str) -> Any:
    """Return the object that ``"module:attribute"`` names."""
    module, _, attribute = entry_point.partition(":")
    return getattr(importlib.import_module(module), attribute)


def attach(
    package: str, entry_points: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for a package whose public names load lazily (PEP 562).

    ``entry_points`` maps a public name to the module that defines it.
    """

    def __getattr__(name: str) -> Any:
        if name not in entry_points:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(entry_points[name]), name)

    names = sorted(entry_points)
    return __getattr__, lambda: names, names


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or raise :class:`MissingDependencyError` naming the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingDependencyError(
            f"{module} is not installed; it comes with the extra {extra!r}: pip install 'atari-vlm[{extra}]'"
        ) from error


class computed_once(Generic[T]):
    """An attribute computed when it is first asked for; two threads at once may both compute it.

    ``functools.cached_property`` has one lock for all instances in Python 3.11, and the child of a fork waits for ever where
    another thread held it.
    """

    def __init__(self, function: Callable[[Any], T]):
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        value = instance.__dict__[self._name] = self._function(instance)
        return value

"""What installed packages bring under a group of entry points, and what is said where two bring the same name."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from atari_vlm.errors import ConfigError


def installed(group: str) -> Iterator[tuple[metadata.EntryPoint, str]]:
    """Every entry point of a group with the name of the package that brings it; nothing is loaded."""
    for entry_point in metadata.entry_points(group=group):
        package = entry_point.dist
        yield entry_point, entry_point.value if package is None else package.name


def twin(what: str, name: str, first: str, second: str) -> ConfigError:
    """The error for two packages that bring the same ``name``."""
    return ConfigError(f"two packages bring a {what} {name!r}: {first} and {second}")

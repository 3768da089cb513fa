"""YAML as plain data, for every program that reads it: bounded in size, depth and repetition, and nothing that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from atari_vlm.errors import ConfigError, reading
from atari_vlm.files import read_real

_MOST_BYTES = 1 << 18
_MOST_DEPTH = 40
_MOST_VALUES = 100_000  # written out: what a reader of the data walks through


class _PlainLoader(yaml.SafeLoader):
    """YAML's own plain types without dates (``2001-01-01`` is a word here) and without merging (``<<``: it multiplies)."""

    def flatten_mapping(self, node: Any) -> None:
        """Refuse to merge."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError("mappings are not merged (<<) here; write them out")


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: str | Path, *, what: str | None = None, links: bool = True) -> dict[str, Any]:
    """The mapping that a YAML file holds: words to words, numbers, booleans, ``None``, lists and mappings of these.

    ``what`` names it in errors. Raises ``ConfigError`` for anything else: a pipe, too long or too deep a file, aliases that
    unfold without end, other types, other content.
    """
    what = what or str(path)
    with reading(what, ConfigError):
        content = plain_yaml(read_real(path, _MOST_BYTES, links=links).decode("utf-8"))
    if not isinstance(content, dict):
        raise ConfigError(f"{what} must hold options, one 'name: value' a line")
    return content


def plain_yaml(text: str) -> Any:
    """The plain value of a YAML text; for anything else ``ValueError`` or whatever YAML's parser raises (``errors.reading``)."""
    _check_depth(text)
    value = yaml.load(text, Loader=_PlainLoader)
    _count(value, [])
    return value


def _check_depth(text: str) -> None:
    """Before anything is built: the parser's events come one by one, at any depth."""
    depth = 0
    for event in yaml.parse(text, Loader=_PlainLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
        if depth > _MOST_DEPTH:
            raise ValueError(f"lists and mappings are nested more than {_MOST_DEPTH} deep")


def _count(value: Any, within: list[int]) -> int:
    """How many values there are when aliases are written out; stops at too many."""
    if not isinstance(value, (list, dict)):
        if value is not None and not isinstance(value, (str, int, float)):
            raise ValueError(f"a {type(value).__name__} is no plain value")
        return 1
    if id(value) in within:
        raise ValueError("a value holds itself")
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        raise ValueError("names must be words")
    children = value.values() if isinstance(value, dict) else value
    total = 1
    for child in children:
        total += _count(child, [*within, id(value)])
        if total > _MOST_VALUES:
            raise ValueError(f"aliases unfold to more than {_MOST_VALUES:,} values")
    return total

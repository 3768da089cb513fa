"""Trees of arrays: states of world models, observations of ``Dict`` and ``Tuple`` spaces, memories of agents.

A tree is a tuple, list, dict or dataclass of trees; its leaves are arrays or tensors, in batches with the rows on the first
axis. Texts in a batch are an object array of ``str``; in a single row a text is a ``str``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply ``function`` to corresponding leaves of equally shaped trees of tuples, lists, dicts
    and dataclasses.
    """
    first = trees[0]
    if isinstance(first, np.ndarray):  # what it mostly is
        return function(*trees)
    if first is None:
        return None
    if isinstance(first, dict):
        return {key: map_leaves(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(map_leaves(function, *leaves) for leaves in zip(*trees, strict=True)))
    if isinstance(first, (tuple, list)):
        return type(first)(map_leaves(function, *leaves) for leaves in zip(*trees, strict=True))
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in dataclasses.fields(first)]
        return dataclasses.replace(
            first,
            **{
                name: map_leaves(function, *(getattr(tree, name) for tree in trees))
                for name in names
            },
        )
    return function(*trees)


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves of a tree, in order."""
    found: list[Any] = []
    map_leaves(found.append, tree)
    return iter(found)


def stacked(trees: Sequence[Any]) -> Any:
    """Several equally shaped trees of arrays, numbers and texts as one, with a new first axis."""
    return map_leaves(_stack, *trees)


def _stack(*rows: Any) -> np.ndarray:
    if len(rows) == 1 and isinstance(rows[0], np.ndarray):
        return rows[0][np.newaxis].copy()
    return texts(rows) if isinstance(rows[0], str) else np.stack(rows)


def texts(strings: Sequence[str]) -> np.ndarray:
    """Strings as an object array ``(n,)``, as texts stand in batches."""
    return objects(strings)


def objects(items: Sequence[Any]) -> np.ndarray:
    """Any objects, arrays among them too, as an object array ``(n,)`` of them."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def take_rows(state: Any, rows: Sequence[int] | np.ndarray) -> Any:
    """The rows of a state in the given order (int64 indices); repeated indices repeat rows."""
    index = np.ascontiguousarray(rows, dtype=np.int64)
    return map_leaves(lambda leaf: leaf[index], state)


def take_row(state: Any, row: int | np.integer[Any]) -> Any:
    """One row of a tree of arrays, without the first axis; arrays are copied."""

    def take(leaf: Any) -> Any:
        value = leaf[row]
        return value.copy() if isinstance(value, np.ndarray) else value

    return map_leaves(take, state)


def concat_rows(states: Sequence[Any]) -> Any:
    """Stack the rows of several states into one."""

    def join(*leaves: Any) -> Any:
        if isinstance(leaves[0], np.ndarray):
            return np.concatenate(leaves)
        import torch

        return torch.cat(leaves)

    return map_leaves(join, *states)


def put_rows(state: Any, rows: Sequence[int] | np.ndarray, values: Any) -> Any:
    """A copy of ``state`` whose given rows are those of ``values``."""
    index = np.ascontiguousarray(rows, dtype=np.int64)

    def put(leaf: Any, value: Any) -> Any:
        copied = leaf.copy() if isinstance(leaf, np.ndarray) else leaf.clone()
        copied[index] = value
        return copied

    return map_leaves(put, state, values)

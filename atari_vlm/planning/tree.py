"""The tree of a search: nodes, their edges, and the states of all nodes as rows of one preallocated
state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.trees import map_leaves, take_rows


class Node:
    """One state of the tree and its outgoing edges, a list entry per action (counted from 0,
    whatever its number).

    An edge whose prediction is no number is worth minus infinity: it has been visited and is never
    taken again.
    """

    __slots__ = (
        "children",
        "depth",
        "over",
        "parent",
        "pending",
        "prior",
        "reward",
        "row",
        "values",
        "via",
        "visits",
    )

    def __init__(self, num_actions: int, row: int, parent: Node | None, via: int, depth: int):
        self.row, self.parent, self.via, self.depth = row, parent, via, depth
        self.reward, self.over = 0.0, False
        self.prior: list[float] | None = None  # probability per edge; None: uniform
        self.children: list[Node | None] = [None] * num_actions
        self.visits = [0] * num_actions  # finished simulations per edge
        self.pending = [0] * num_actions  # simulations under way per edge
        self.values = [-math.inf] * num_actions  # mean or best return per edge, from this node on

    def favourite(self, backup: str = "mean") -> int:
        """The most visited edge (with ``backup`` max: the best); ties go to the other, then to the
        lower index.
        """
        actions, visits, values = range(len(self.visits)), self.visits, self.values
        if backup == "max":
            return max(actions, key=lambda a: (not self.is_closed(a), values[a], visits[a], -a))
        return max(actions, key=lambda a: (not self.is_closed(a), visits[a], values[a], -a))

    def is_closed(self, edge: int) -> bool:
        """Whether the prediction behind an edge is no number."""
        return self.visits[edge] > 0 and self.values[edge] == -math.inf

    def close(self, edge: int) -> None:
        """Make an edge worth minus infinity, and so the edge that led here when no other is left."""
        self.visits[edge], self.values[edge], self.children[edge] = (
            max(1, self.visits[edge]),
            -math.inf,
            None,
        )
        if self.parent is not None and all(map(self.is_closed, range(len(self.visits)))):
            self.parent.close(self.via)


@dataclass
class Tree:
    """A search tree with the states of its nodes (rows of one preallocated state), reusable for the
    next decision.

    ``low`` and ``high`` are the smallest and the largest value of an edge so far; ``first`` is the
    number of the first action.
    """

    root: Node
    states: Any
    size: int
    low: float = math.inf
    high: float = -math.inf
    first: int = 0

    @classmethod
    def grown(cls, old: Tree | None, state: Any, room: int, num_actions: int, first: int) -> Tree:
        """``old``, or a new tree, with room for ``room`` more rows, whose root row is ``state``."""
        size, rows = (old.size, old.states) if old else (1, state)
        states = map_leaves(lambda leaf: _allocate(leaf, size + room), rows)
        write(states, slice(0, size), rows)
        write(states, slice(0, 1), state)
        if old is None:
            return cls(Node(num_actions, 0, None, -1, 0), states, 1, first=first)
        old.states = states
        return old

    def stands_at(self, state: Any) -> bool:
        """Whether the root's state, as it was predicted, is the one row of ``state``, as far as arrays of numbers tell.

        A subtree was predicted from the root as it was then, and so on back to the first search: a difference that no reward
        shows yet grows with every step that the tree is kept.
        """
        differences: list[bool] = []

        def compare(predicted: Any, real: Any) -> None:
            if isinstance(real, np.ndarray) and real.dtype.kind in "biuf":
                alike = np.allclose(predicted[0], real[0], rtol=1e-4, atol=1e-4, equal_nan=True)
                differences.append(not alike)

        map_leaves(compare, self.states, state)
        return not any(differences)

    def append(self, states: Any, count: int) -> int:
        """Store ``count`` new rows; the number of the first."""
        first, self.size = self.size, self.size + count
        write(self.states, slice(first, self.size), states)
        return first

    def favourite(self, backup: str = "mean") -> int:
        """The action of the root's :meth:`Node.favourite`."""
        return self.first + self.root.favourite(backup)

    def expected(self, action: int) -> tuple[float, bool] | None:
        """Reward and end predicted for ``action`` at the root; ``None`` where it was never visited."""
        child = self.root.children[action - self.first]
        return None if child is None else (child.reward, child.over)

    def advance(self, action: int) -> Tree | None:
        """The subtree after ``action`` was executed; ``None`` where it was never visited. Its rows
        are packed anew.
        """
        child = self.root.children[action - self.first]
        if child is None or child.over:
            return None
        nodes = [child]
        for node in nodes:
            nodes.extend(c for c in node.children if c is not None)
        states = take_rows(self.states, [node.row for node in nodes])
        shift = child.depth
        for row, node in enumerate(nodes):
            node.row, node.depth = row, node.depth - shift
        child.parent = None
        return Tree(child, states, len(nodes), self.low, self.high, self.first)


def _allocate(leaf: Any, rows: int) -> Any:
    """Uninitialised room for ``rows`` rows like those of ``leaf``."""
    shape = (rows, *leaf.shape[1:])
    return np.empty(shape, leaf.dtype) if isinstance(leaf, np.ndarray) else leaf.new_empty(shape)


def write(states: Any, rows: slice, values: Any) -> None:
    """Put the rows of ``values`` into ``states``."""

    def write(target: Any, source: Any) -> Any:
        target[rows] = source[: rows.stop - rows.start]
        return target

    map_leaves(write, states, values)

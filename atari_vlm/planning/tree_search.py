"""Monte Carlo tree search over a world model, several leaves per model call.

Each simulation walks from the root to an action that was not tried yet, adds the state it leads to, estimates that state
(value function, else a uniformly random rollout), and adds the estimate to every edge on the way. Selection is UCT (Kocsis &
Szepesvári 2006) or PUCT with a prior (Silver et al. 2017); values are scaled to [0, 1] by the smallest and largest seen
(Schrittwieser et al. 2020, appendix B). Simulations that are under way count as visits without a value, so that a batch of
leaves spreads (Liu et al. 2020, arXiv 1810.11755). An edge keeps the first outcome that was sampled for it.

Where the model is exact and deterministic (an emulator), what was once reached can be reached again: ``backup="max"`` values
an edge by the best return found below it, and ``keep_rollouts`` makes every state of a rollout a node, so that a tree that is
reused from step to step never forgets the best plan it has found.

Discrete actions only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from operator import add
from typing import Any, Literal

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError, NotSupportedError, UnknownNameError, check_positive
from atari_vlm.planning.scoring import ValueFunction, random_plans, roll
from atari_vlm.world_models.base import WorldModel, map_leaves, take_rows


@dataclass(frozen=True)
class MCTSConfig:
    """``depth`` is the deepest node; ``rollout_steps`` the random steps after a new node (none where a value is given)."""

    num_simulations: int = 100
    depth: int = 30
    rollout_steps: int = 10
    rollout_hold: tuple[int, int] = (1, 1)
    """a random rollout holds each of its actions for so many steps, drawn per rollout between these, log-uniformly"""
    batch_size: int = 8
    """leaves per model call; more is faster and searches a little less sharply"""
    backup: Literal["mean", "max"] = "mean"
    """an edge is worth the mean of its returns, or (exact deterministic models) the best; then the best edge is played"""
    keep_rollouts: bool = False
    """every state of a rollout becomes a node, and a value function estimates the last of them"""
    rule: Literal["uct", "puct"] = "uct"
    exploration: float = 1.0
    discount: float = 0.99

    def __post_init__(self) -> None:
        check_positive(num_simulations=self.num_simulations, depth=self.depth, batch_size=self.batch_size)
        check_positive(discount=self.discount)
        if self.rollout_steps < 0 or self.exploration < 0:
            raise ConfigError("rollout_steps and exploration must not be negative")
        low, high = self.rollout_hold
        if not 1 <= low <= high:
            raise ConfigError(
                f"rollout_hold is (shortest, longest) with 1 <= shortest <= longest, got {self.rollout_hold}"
            )
        if self.rule not in ("uct", "puct"):
            raise UnknownNameError("selection rule", self.rule, ("uct", "puct"))
        if self.backup not in ("mean", "max"):
            raise UnknownNameError("backup", self.backup, ("mean", "max"))


class Node:
    """One state of the tree and its outgoing edges, a list entry per action."""

    __slots__ = ("children", "depth", "over", "parent", "pending", "reward", "row", "values", "via", "visits")

    def __init__(self, num_actions: int, row: int, parent: Node | None, via: int, depth: int):
        self.row, self.parent, self.via, self.depth = row, parent, via, depth
        self.reward, self.over = 0.0, False
        self.children: list[Node | None] = [None] * num_actions
        self.visits = [0] * num_actions  # finished simulations per edge
        self.pending = [0] * num_actions  # simulations under way per edge
        self.values = [-math.inf] * num_actions  # mean or best return per edge, from this node on

    def favourite(self, backup: str = "mean") -> int:
        """The most visited action (with ``backup`` max: the best); ties go to the other, then to the lower index."""
        actions, visits, values = range(len(self.visits)), self.visits, self.values
        if backup == "max":
            return max(actions, key=lambda a: (values[a], visits[a], -a))
        return max(actions, key=lambda a: (visits[a], values[a], -a))


@dataclass
class Tree:
    """A search tree with the states of its nodes (rows of one preallocated state), reusable for the next decision."""

    root: Node
    states: Any
    size: int
    low: float = math.inf
    high: float = -math.inf
    prior: np.ndarray | None = None

    def advance(self, action: int) -> Tree | None:
        """The subtree after ``action`` was executed; ``None`` where it was never visited. Its rows are packed anew."""
        child = self.root.children[action]
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
        return Tree(child, states, len(nodes), self.low, self.high)


@dataclass(frozen=True)
class SearchResult:
    """``visits`` int64 ``(A,)`` and returns ``values`` float64 ``(A,)`` (NaN where unvisited) of the root's actions."""

    action: int
    visits: np.ndarray
    values: np.ndarray
    simulations: int
    tree: Tree = field(repr=False)


def mcts(
    world_model: WorldModel[Any],
    state: Any,
    config: MCTSConfig | None = None,
    *,
    rng: np.random.Generator,
    prior: np.ndarray | None = None,
    value: ValueFunction | None = None,
    tree: Tree | None = None,
) -> SearchResult:
    """Search from the one row of ``state`` and return the root's :meth:`~Node.favourite` action.

    ``prior`` float ``(A,)`` are the root's action probabilities for PUCT (a VLM's, for instance; uniform deeper down and by
    default). ``tree`` is the last result's ``tree.advance(action)``; its root takes the given ``state``.
    """
    config = config or MCTSConfig()
    space = world_model.action_space
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise NotSupportedError(f"mcts needs discrete actions, got {space}")
    search = _Search(world_model, config, int(space.n), rng, value)
    tree = search.prepare(state, tree)
    tree.prior = _checked_prior(prior, int(space.n))
    before = sum(tree.root.visits)
    while (done := sum(tree.root.visits) - before) < config.num_simulations:
        if search.simulate(tree, min(config.batch_size, config.num_simulations - done)) == 0:
            break
    root = tree.root
    visits = np.array(root.visits)
    values = np.where(visits > 0, root.values, np.nan)
    return SearchResult(root.favourite(config.backup), visits, values, int(visits.sum()) - before, tree)


def _checked_prior(prior: np.ndarray | None, num_actions: int) -> np.ndarray | None:
    if prior is None:
        return None
    checked = np.asarray(prior, np.float64)
    if checked.shape != (num_actions,) or not np.isfinite(checked).all() or (checked < 0).any() or checked.sum() <= 0:
        raise ConfigError(f"prior must be {num_actions} probabilities, got {prior!r}")
    normalised: np.ndarray = checked / checked.sum()
    return normalised


class _Search:
    """The parts of one call: select leaves, expand them in one model step, estimate them, back up."""

    def __init__(self, world_model: Any, config: MCTSConfig, num_actions: int, rng: Any, value: ValueFunction | None):
        self.model, self.config, self.num_actions, self.rng, self.value = world_model, config, num_actions, rng, value
        self.shares = value is None and config.rollout_steps > 0 and not config.keep_rollouts

    def prepare(self, state: Any, tree: Tree | None) -> Tree:
        """A tree with room for this search's new rows, whose root row is ``state``."""
        size = tree.size if tree else 1
        room = size + self.config.num_simulations * (1 + self.config.rollout_steps * self.config.keep_rollouts)
        old = tree.states if tree else state
        states = map_leaves(lambda leaf: _allocate(leaf, room), old)
        _write(states, slice(0, size), old)
        _write(states, slice(0, 1), state)
        if tree is None:
            return Tree(Node(self.num_actions, 0, None, -1, 0), states, 1)
        tree.states = states
        return tree

    def simulate(self, tree: Tree, count: int) -> int:
        """Run up to ``count`` simulations in one batch; returns how many there were."""
        leaves, finished = [], 0
        for _ in range(count):
            node, action = self.select(tree)
            if action < 0:  # an end, or the depth limit: nothing to expand
                finished += 1
                self.back_up(tree, node, 0.0)
                continue
            if node.pending[action] > 1 and not self.shares:  # this very leaf is under way already
                self.undo(node, action)
                break
            leaves.append((node, action))
        if leaves:
            self.expand(tree, leaves)
        return len(leaves) + finished

    def select(self, tree: Tree) -> tuple[Node, int]:
        """Walk down from the root, marking edges as under way; an untried edge ends it, and so does an end (action -1)."""
        node = tree.root
        while not node.over and node.depth < self.config.depth:
            action = self.choose(tree, node)
            node.pending[action] += 1
            child = node.children[action]
            if child is None:
                return node, action
            node = child
        return node, -1

    def choose(self, tree: Tree, node: Node) -> int:
        """The edge with the best upper bound."""
        config, low, exploration = self.config, tree.low, self.config.exploration
        scale = 1.0 / (tree.high - low) if tree.high > low else 1.0
        best, best_score = 0, -math.inf
        total = sum(node.visits) + sum(node.pending) + 1
        if config.rule == "uct":
            width = 2 * exploration * exploration * math.log(total)
            for action, count in enumerate(map(add, node.visits, node.pending)):
                if count == 0:
                    return action
                quality = (node.values[action] - low) * scale if node.visits[action] else 0.0
                score = quality + math.sqrt(width / count)
                if score > best_score:
                    best, best_score = action, score
            return best
        prior = tree.prior if node is tree.root else None
        width = exploration * math.sqrt(total)
        for action, count in enumerate(map(add, node.visits, node.pending)):
            probability = 1.0 / self.num_actions if prior is None else prior[action]
            quality = (node.values[action] - low) * scale if node.visits[action] else 0.0
            score = quality + width * probability / (1 + count)
            if score > best_score:
                best, best_score = action, score
        return best

    def expand(self, tree: Tree, leaves: list[tuple[Node, int]]) -> None:
        """Step all leaves at once, store their states, estimate them, and back up.

        Simulations that met in one leaf share its state and roll out from it each on its own.
        """
        numbers = {leaf: i for i, leaf in enumerate(dict.fromkeys(leaves))}
        parents = take_rows(tree.states, [node.row for node, _ in numbers])
        step = self.model.step(parents, np.array([action for _, action in numbers]), rng=self.rng)
        first, count = tree.size, len(numbers)
        _write(tree.states, slice(first, first + count), step.state)
        tree.size += count
        rewards, ends = step.reward.tolist(), step.terminated.tolist()
        children = [self.add(*leaf, first + i, rewards[i], ends[i]) for leaf, i in numbers.items()]
        if self.config.keep_rollouts:
            self.roll_out(tree, children, step.state)
            return
        rows = [numbers[leaf] for leaf in leaves]
        state = step.state if len(rows) == count else take_rows(step.state, rows)
        estimates = self.estimate(state, len(rows)).tolist()
        for i, estimate in zip(rows, estimates, strict=True):
            self.back_up(tree, children[i], 0.0 if children[i].over else estimate)

    def add(self, parent: Node, action: int, row: int, reward: float, over: bool) -> Node:
        """A new node behind an edge."""
        child = Node(self.num_actions, row, parent, action, parent.depth + 1)
        child.reward, child.over = reward, over
        parent.children[action] = child
        return child

    def roll_out(self, tree: Tree, nodes: list[Node], state: Any) -> None:
        """Continue every new node by a random rollout whose states all become nodes, and back up."""
        for chosen in self.random_plans(len(nodes)).T:
            if all(node.over for node in nodes):
                break
            step = self.model.step(state, chosen, rng=self.rng)
            first, state = tree.size, step.state
            _write(tree.states, slice(first, first + len(nodes)), state)
            tree.size += len(nodes)
            for i, node in enumerate(nodes):
                if not node.over:
                    action = int(chosen[i])
                    node.pending[action] += 1
                    nodes[i] = self.add(node, action, first + i, float(step.reward[i]), bool(step.terminated[i]))
        ends = [0.0] * len(nodes) if self.value is None else np.asarray(self.value(state), np.float64).tolist()
        for node, end in zip(nodes, ends, strict=True):
            self.back_up(tree, node, 0.0 if node.over else end)

    def random_plans(self, count: int) -> np.ndarray:
        """What the rollouts play, ``(count, rollout_steps)``."""
        plans = random_plans(self.model.action_space, count, self.config.rollout_steps, self.rng)
        return held(plans, self.config.rollout_hold, self.rng)

    def estimate(self, state: Any, count: int) -> np.ndarray:
        """Value of new states, ``(count,)``: the value function, else one random rollout each."""
        if self.value is not None:
            return np.asarray(self.value(state), np.float64)
        if self.config.rollout_steps == 0:
            return np.zeros(count)
        return roll(self.model, state, self.random_plans(count), rng=self.rng, discount=self.config.discount).returns

    def back_up(self, tree: Tree, node: Node, estimate: float) -> None:
        """Add a return to every edge from ``node`` up to the root."""
        total = estimate if math.isfinite(estimate) else 0.0
        discount, best = self.config.discount, self.config.backup == "max"
        low, high = tree.low, tree.high
        while node.parent is not None:
            parent, action = node.parent, node.via
            total = node.reward + discount * total
            parent.pending[action] -= 1
            parent.visits[action] = visits = parent.visits[action] + 1
            value = parent.values[action]
            if visits == 1 or (best and total > value):
                value = total
            elif not best:
                value += (total - value) / visits
            parent.values[action] = value
            low, high = min(low, value), max(high, value)
            node = parent
        tree.low, tree.high = low, high

    def undo(self, node: Node, action: int) -> None:
        """Take back the marks of a walk that found its leaf already under way."""
        node.pending[action] -= 1
        while node.parent is not None:
            node.parent.pending[node.via] -= 1
            node = node.parent


def held(plans: np.ndarray, lengths: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Plans ``(P, H)`` whose actions are held: row by row for a number of steps between the two ``lengths``, log-uniform."""
    low, high = lengths
    if high == 1:
        return plans
    n, horizon = plans.shape
    hold = np.exp(rng.uniform(np.log(low), np.log(high + 1), n)).astype(np.int64)  # (P,)
    return np.take_along_axis(plans, np.arange(horizon) // np.minimum(hold, high)[:, None], 1)


def _allocate(leaf: Any, rows: int) -> Any:
    """Uninitialised room for ``rows`` rows like those of ``leaf``."""
    shape = (rows, *leaf.shape[1:])
    return np.empty(shape, leaf.dtype) if isinstance(leaf, np.ndarray) else leaf.new_empty(shape)


def _write(states: Any, rows: slice, values: Any) -> None:
    """Put the rows of ``values`` into ``states``."""

    def write(target: Any, source: Any) -> Any:
        target[rows] = source[: rows.stop - rows.start]
        return target

    map_leaves(write, states, values)

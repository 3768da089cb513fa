"""The simulations of a tree search: leaves are selected, expanded in one model step, estimated and backed up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import add
from typing import Any, Literal

import numpy as np

from atari_vlm.errors import ConfigError, UnknownNameError, check_count
from atari_vlm.planning.faults import step_rows
from atari_vlm.planning.rollouts import finite_returns, held
from atari_vlm.planning.scoring import ValueFunction, check_discount, random_plans
from atari_vlm.planning.tree import Node, Tree
from atari_vlm.trees import take_rows


@dataclass(frozen=True)
class MCTSConfig:
    """``depth`` is the deepest node; ``rollout_steps`` the random steps after a new node (none
    where a value is given).
    """

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
        check_count(
            num_simulations=self.num_simulations, depth=self.depth, batch_size=self.batch_size
        )
        check_discount(self.discount)
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


class Simulation:
    """The parts of one call: select leaves, expand them in one model step, estimate them, back up."""

    def __init__(
        self,
        world_model: Any,
        config: MCTSConfig,
        num_actions: int,
        rng: Any,
        value: ValueFunction | None,
    ):
        self.model, self.config, self.num_actions, self.rng, self.value = (
            world_model,
            config,
            num_actions,
            rng,
            value,
        )
        self.policy = getattr(world_model, "policy", None) if config.rule == "puct" else None
        self.first = int(world_model.action_space.start)
        self.shares = value is None and config.rollout_steps > 0 and not config.keep_rollouts

    def simulate(self, tree: Tree, count: int) -> int:
        """Run up to ``count`` simulations in one batch; returns how many there were."""
        leaves, finished = [], 0
        for _ in range(count):
            node, action = self.select(tree)
            if (
                action < 0
            ):  # an end, the depth limit, or nothing but closed edges: nothing to expand
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
        """Walk down from the root, marking edges as under way; an untried edge ends it, and so does
        an end (action -1).
        """
        node = tree.root
        while not node.over and node.depth < self.config.depth:
            action = self.choose(tree, node)
            if action < 0:
                break
            node.pending[action] += 1
            child = node.children[action]
            if child is None:
                return node, action
            node = child
        return node, -1

    def choose(self, tree: Tree, node: Node) -> int:
        """The edge with the best upper bound; -1 where all are closed."""
        config, low, exploration = self.config, tree.low, self.config.exploration
        scale = 1.0 / (tree.high - low) if tree.high > low else 1.0
        best, best_score = -1, -math.inf
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
        prior, width = node.prior, exploration * math.sqrt(total)
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
        actions = np.array([action + self.first for _, action in numbers])
        step = step_rows(self.model, parents, actions, rng=self.rng)
        count, rewards, ends = len(numbers), step.reward.tolist(), step.terminated.tolist()
        first = tree.append(step.state, count)
        children = [self.add(*leaf, first + i, rewards[i], ends[i]) for leaf, i in numbers.items()]
        self.set_priors(children, step.state)
        if self.config.keep_rollouts:
            self.roll_out(tree, children, step.state)
            return
        rows = [numbers[leaf] for leaf in leaves]
        state = step.state if len(rows) == count else take_rows(step.state, rows)
        estimates = self.estimate(state, len(rows)).tolist()
        for i, estimate in zip(rows, estimates, strict=True):
            self.back_up(tree, children[i], 0.0 if children[i].over else estimate)

    def set_priors(self, nodes: list[Node], state: Any) -> None:
        """What the model's policy would do in new nodes, where it has one that the rule can use."""
        if self.policy is None:
            return
        probabilities = np.asarray(self.policy(state), np.float64)
        for node, row in zip(nodes, probabilities, strict=True):
            node.prior = checked_prior(row, self.num_actions)

    def add(self, parent: Node, action: int, row: int, reward: float, over: bool) -> Node:
        """A new node behind an edge."""
        child = Node(self.num_actions, row, parent, action, parent.depth + 1)
        child.reward, child.over = reward, over
        parent.children[action] = child
        return child

    def roll_out(self, tree: Tree, nodes: list[Node], state: Any) -> None:
        """Continue every new node by a random rollout whose states all become nodes, and back up.

        A rollout stops before a reward that is no number.
        """
        going = [math.isfinite(node.reward) and not node.over for node in nodes]
        for actions in self.random_plans(len(nodes)).T:
            if not any(going):
                break
            step = step_rows(self.model, state, actions, rng=self.rng)
            state, rewards, ends = step.state, step.reward.tolist(), step.terminated.tolist()
            first = tree.append(state, len(nodes))
            for i in [i for i, goes in enumerate(going) if goes]:
                node, action = nodes[i], int(actions[i]) - self.first
                going[i] = math.isfinite(rewards[i]) and not ends[i]
                if not math.isfinite(rewards[i]):
                    node.close(action)
                    continue
                node.pending[action] += 1
                nodes[i] = self.add(node, action, first + i, rewards[i], ends[i])
        values = (
            [0.0] * len(nodes)
            if self.value is None
            else np.asarray(self.value(state), np.float64).tolist()
        )
        for node, goes, value in zip(nodes, going, values, strict=True):
            self.back_up(tree, node, value if goes else 0.0)

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
        plans = self.random_plans(count)
        return finite_returns(self.model, state, plans, rng=self.rng, discount=self.config.discount)

    def back_up(self, tree: Tree, node: Node, estimate: float) -> None:
        """Add a return to every edge from ``node`` up to the root; close the edge to ``node`` where
        it is no number.
        """
        parent, total = node.parent, estimate if math.isfinite(estimate) else 0.0
        if parent is not None and not math.isfinite(node.reward):
            parent.close(node.via)
        if parent is not None and parent.is_closed(node.via):
            self.undo(parent, node.via)
            return
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
        """Take back the marks of a walk that came to nothing: its leaf was under way already, or no
        number.
        """
        node.pending[action] -= 1
        while node.parent is not None:
            node.parent.pending[node.via] -= 1
            node = node.parent


def checked_prior(prior: np.ndarray, num_actions: int) -> list[float]:
    """Probabilities ``(A,)`` that sum to 1, or ``ConfigError``."""
    checked = np.asarray(prior, np.float64)
    if (
        checked.shape != (num_actions,)
        or not np.isfinite(checked).all()
        or (checked < 0).any()
        or checked.sum() <= 0
    ):
        raise ConfigError(f"prior must be {num_actions} probabilities, got {prior!r}")
    normalised: list[float] = (checked / checked.sum()).tolist()
    return normalised

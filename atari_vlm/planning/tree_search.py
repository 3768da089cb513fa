"""Monte Carlo tree search over a world model, several leaves per model call.

Each simulation walks from the root to an action that was not tried yet, adds the state it leads to,
estimates that state (value function, else a uniformly random rollout), and adds the estimate to
every edge on the way. Selection is UCT (Kocsis & Szepesvári 2006) or PUCT with a prior (Silver et
al. 2017); values are scaled to [0, 1] by the smallest and largest seen (Schrittwieser et al. 2020,
appendix B). Simulations that are under way count as visits without a value, so that a batch of
leaves spreads (Liu et al. 2020, arXiv 1810.11755). An edge keeps the first outcome that was sampled
for it. An edge whose predicted reward is no number is worth minus infinity and never played, and
rollouts go round such rewards.

Where the model is exact and deterministic (an emulator), what was once reached can be reached
again: ``backup="max"`` values an edge by the best return found below it, and ``keep_rollouts``
makes every state of a rollout a node, so that a tree that is reused from step to step never forgets
the best plan it has found.

Discrete actions only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import check_action_space
from atari_vlm.errors import NotSupportedError
from atari_vlm.planning.scoring import Valuing, value_of
from atari_vlm.planning.simulation import MCTSConfig, Simulation, checked_prior
from atari_vlm.planning.tree import Tree
from atari_vlm.world_models.base import WorldModel, check_one_row


@dataclass(frozen=True)
class SearchResult:
    """The ``action`` to play; ``visits`` int64 ``(A,)`` and returns ``values`` float64 ``(A,)`` of
    the root's actions.

    A value is NaN where an action was not visited, and minus infinity where the model predicted no
    number.
    """

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
    value: Valuing = "own",
    tree: Tree | None = None,
) -> SearchResult:
    """Search from the one row of ``state`` and return the root's
    :meth:`~atari_vlm.planning.tree.Node.favourite` action.

    ``prior`` float ``(A,)`` are the root's action probabilities for PUCT (a VLM's, for instance);
    without it, and deeper down, they are those of the model's ``policy`` where it has one, else
    uniform. ``value`` estimates new nodes instead of rollouts: ``"own"`` is the model's ``value``
    where it has one. ``tree`` is the last result's ``tree.advance(action)``; its root takes the given ``state``.
    """
    config = config or MCTSConfig()
    space = check_action_space(world_model.action_space, "the world model")
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise NotSupportedError(f"mcts needs discrete actions, got {space}")
    check_one_row(state)
    search = Simulation(world_model, config, int(space.n), rng, value_of(world_model, value))
    room = config.num_simulations * (1 + config.rollout_steps * config.keep_rollouts)
    tree = Tree.grown(tree, state, room, int(space.n), int(space.start))
    if prior is not None:
        tree.root.prior = checked_prior(prior, int(space.n))
    elif tree.root.prior is None:
        search.set_priors([tree.root], state)
    done = 0
    while done < config.num_simulations:
        made = search.simulate(tree, min(config.batch_size, config.num_simulations - done))
        if made == 0:
            break
        done += made
    root = tree.root
    visits = np.array(root.visits)
    values = np.where(visits > 0, root.values, np.nan)
    return SearchResult(tree.favourite(config.backup), visits, values, done, tree)

"""Planners as one word, ``PLANNER@MODEL[,OPTION=VALUE...]``, as studies and tuning take them: options, and what they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.agents.planners import CEMAgent, MCTSAgent
from atari_vlm.agents.policy_agent import PolicyAgent
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.agents.worlds import NAMED, Worlds, check_world, sharpest
from atari_vlm.errors import ConfigError, UnknownNameError, check_count
from atari_vlm.planning.cross_entropy import CEMConfig
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.settings import from_plain
from atari_vlm.spaces import Env

_STUDY_SEARCH = {
    "num_simulations": 32
}  # a study plays many episodes; a single search may take more
JUDGING = ("end_on_life_loss",)
ASKING = ("vlm",)  # whom a planner asks for a prior, or for plans


@dataclass(frozen=True)
class SearchOptions:
    """Of a planner, besides the fields of its configuration. ``follow`` and ``reuse_tree`` are of tree search."""

    end_on_life_loss: bool = True
    follow: int = 4
    reuse_tree: bool = True

    def __post_init__(self) -> None:
        check_count(follow=self.follow)


@dataclass(frozen=True)
class PolicyOptions:
    """Of a trained policy: ``temperature`` 0 takes the likeliest action."""

    temperature: float = 0.5
    device: str = "cpu"


_CONFIGS: dict[str, type[Any]] = {"mcts": MCTSConfig, "cem": CEMConfig}
_OF_TREES = ("follow", "reuse_tree")


def planner_names(planner: str) -> tuple[str, ...]:
    """The options that are a planner's own."""
    if planner == "policy":
        return tuple(item.name for item in dataclasses.fields(PolicyOptions))
    if planner == "plan":
        return (*JUDGING, *ASKING)
    search = [item.name for item in dataclasses.fields(SearchOptions)]
    search = [name for name in search if planner == "mcts" or name not in _OF_TREES]
    return (*(item.name for item in dataclasses.fields(_CONFIGS[planner])), *search, *ASKING)


def worlds_of(spec: AgentSpec) -> Worlds:
    """The world model that a spec names."""
    ends = spec.options.get("end_on_life_loss", True)
    if not isinstance(ends, bool):
        raise ConfigError(f"the agent {spec.label!r}: end_on_life_loss is true or false")
    return Worlds(spec.planner[1], end_on_life_loss=ends)


def check_planner(spec: AgentSpec, others: Sequence[str] = ()) -> None:
    """Raise ``UnknownNameError`` for an option that a planner has not; ``others`` are options of the VLM that it asks."""
    planner, _ = spec.planner
    known = (*planner_names(planner), *others)
    for name in spec.options:
        if name not in known:
            raise UnknownNameError(f"option of the agent {spec.label!r}", name, known)


def search_of(spec: AgentSpec, **defaults: Any) -> tuple[Any, SearchOptions]:
    """The configuration of a spec's planner (``MCTSConfig`` or ``CEMConfig``), with ``defaults`` for what it leaves open."""
    planner, what = spec.planner[0], f"the agent {spec.label!r}"
    own = {name: value for name, value in spec.options.items() if name in planner_names(planner)}
    fields = {item.name for item in dataclasses.fields(SearchOptions)}
    search = from_plain(SearchOptions, {k: v for k, v in own.items() if k in fields}, what)
    left = {k: v for k, v in own.items() if k not in fields and k not in ASKING}
    usual = _STUDY_SEARCH if planner == "mcts" else {}
    return from_plain(_CONFIGS[planner], {**usual, **defaults, **left}, what), search


def tree_search(spec: AgentSpec, worlds: Worlds) -> Callable[[Env], MCTSAgent]:
    """What makes the tree search of a spec, in its worlds, for an environment."""
    config, search = search_of(spec)
    return lambda env: MCTSAgent(worlds.model(env), config, **tree_options(worlds, search, env))


def cross_entropy(spec: AgentSpec, worlds: Worlds) -> Callable[[Env], CEMAgent]:
    """The same of the cross-entropy method."""
    config, _ = search_of(spec)
    return lambda env: CEMAgent(worlds.model(env), config, frame_source=worlds.frame_source(env))


def trained_policy(spec: AgentSpec) -> Callable[[Env], PolicyAgent]:
    """What makes the player of ``policy@FOLDER`` for an environment; ``ConfigError`` for a world that has none."""
    _, checkpoint = spec.planner
    check_world(checkpoint)
    if checkpoint in NAMED:
        raise ConfigError(
            f"{spec.name}: {checkpoint} has no policy; give the folder of a trained model's checkpoint"
        )
    check_planner(spec)
    options = from_plain(PolicyOptions, dict(spec.options), f"the agent {spec.label!r}")
    return lambda env: PolicyAgent(
        checkpoint,
        frame_source=sharpest(env),
        temperature=options.temperature,
        device=options.device,
    )


def tree_options(worlds: Worlds, search: SearchOptions, env: Env) -> dict[str, Any]:
    """What a tree search is made with besides its model and configuration."""
    return {
        "reuse_tree": search.reuse_tree,
        "follow": search.follow,
        "frame_source": worlds.frame_source(env),
    }

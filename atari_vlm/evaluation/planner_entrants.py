"""Agents that play with a world model, from ``PLANNER@MODEL``: tree search, cross-entropy, a trained policy, a VLM's plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.agents.base import Agent
from atari_vlm.agents.in_context.demonstrations import Demonstration
from atari_vlm.agents.planners import CEMAgent, MCTSAgent
from atari_vlm.agents.policy_agent import PolicyAgent
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.agents.vlm_planners import VLMPlansCEMAgent, VLMPriorMCTSAgent
from atari_vlm.errors import ConfigError, UnknownNameError, check_count
from atari_vlm.evaluation.askers import Asker
from atari_vlm.evaluation.entrants import Entrant, Make
from atari_vlm.evaluation.worlds import NAMED, Worlds, check_world, sharpest
from atari_vlm.planning.cross_entropy import CEMConfig
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.settings import from_plain
from atari_vlm.spaces import Env
from atari_vlm.vlm.base import VLM

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


def planner_entrant(
    spec: AgentSpec, asker: Asker | None = None, vlm: VLM | None = None, **facts: Any
) -> Entrant:
    """The entrant of a planner; with ``vlm`` the model is asked for a prior (``mcts``) or for plans to begin with (``cem``)."""
    planner, model = spec.planner
    if planner == "policy":
        return Entrant(spec, _policy(spec), model=model)
    worlds, what = worlds_of(spec), f"the agent {spec.label!r}"
    own = {name: value for name, value in spec.options.items() if name in planner_names(planner)}
    fields = {item.name for item in dataclasses.fields(SearchOptions)}
    search = from_plain(SearchOptions, {k: v for k, v in own.items() if k in fields}, what)
    left = {k: v for k, v in own.items() if k not in fields and k not in ASKING}
    if planner == "mcts":
        rule = {"rule": "puct"} if vlm is not None else {}
        config = from_plain(MCTSConfig, {**_STUDY_SEARCH, **rule, **left}, what)
        make = _tree_search(worlds, config, search, asker if vlm is not None else None)
    else:
        make = _cross_entropy(
            worlds, from_plain(CEMConfig, left, what), asker if vlm is not None else None
        )
    return Entrant(spec, make, vlm, **{"model": model, **facts})


def _tree_search(
    worlds: Worlds, config: MCTSConfig, search: SearchOptions, asker: Asker | None
) -> Make:
    def make(vlm: VLM, env: Env, shown: Sequence[Demonstration]) -> Agent:
        options: dict[str, Any] = {
            "reuse_tree": search.reuse_tree,
            "follow": search.follow,
            "frame_source": worlds.frame_source(env),
        }
        if asker is None:
            return MCTSAgent(worlds.model(env), config, **options)
        return VLMPriorMCTSAgent(vlm, worlds.model(env), config, **_asking(asker), **options)

    return make


def _cross_entropy(worlds: Worlds, config: CEMConfig, asker: Asker | None) -> Make:
    def make(vlm: VLM, env: Env, shown: Sequence[Demonstration]) -> Agent:
        source = worlds.frame_source(env)
        if asker is None:
            return CEMAgent(worlds.model(env), config, frame_source=source)
        plans = asker.asking.num_plans
        return VLMPlansCEMAgent(
            vlm, worlds.model(env), config, num_plans=plans, frame_source=source, **_asking(asker)
        )

    return make


def _asking(asker: Asker) -> Mapping[str, Any]:
    names = [item.name for item in dataclasses.fields(VLMAgentOptions)]
    options = VLMAgentOptions(**{name: getattr(asker.agent, name) for name in names})
    return {"prompt_type": asker.asking.prompt_type, "options": options}


def _policy(spec: AgentSpec) -> Make:
    _, checkpoint = spec.planner
    check_world(checkpoint)
    if checkpoint in NAMED:
        raise ConfigError(
            f"{spec.name}: {checkpoint} has no policy; give the folder of a trained model's checkpoint"
        )
    check_planner(spec)
    options = from_plain(PolicyOptions, dict(spec.options), f"the agent {spec.label!r}")

    def make(vlm: VLM, env: Env, shown: Sequence[Demonstration]) -> Agent:
        return PolicyAgent(
            checkpoint,
            frame_source=sharpest(env),
            temperature=options.temperature,
            device=options.device,
        )

    return make

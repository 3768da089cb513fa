"""Agents that play with a world model, from ``PLANNER@MODEL``: tree search, cross-entropy, a trained policy, a VLM's plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from atari_vlm.agents.base import Agent
from atari_vlm.agents.in_context.demonstrations import Demonstration
from atari_vlm.agents.planner_specs import (
    PolicyOptions,
    check_planner,
    search_of,
    tree_options,
    tree_search,
    worlds_of,
)
from atari_vlm.agents.planners import CEMAgent
from atari_vlm.agents.policy_agent import PolicyAgent
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.agents.vlm_planners import VLMPlansCEMAgent, VLMPriorMCTSAgent
from atari_vlm.agents.worlds import NAMED, Worlds, check_world, sharpest
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.askers import Asker
from atari_vlm.evaluation.entrants import Entrant, Make
from atari_vlm.planning.cross_entropy import CEMConfig
from atari_vlm.settings import from_plain
from atari_vlm.spaces import Env
from atari_vlm.vlm.base import VLM


def planner_entrant(
    spec: AgentSpec, asker: Asker | None = None, vlm: VLM | None = None, **facts: Any
) -> Entrant:
    """The entrant of a planner; with ``vlm`` the model is asked for a prior (``mcts``) or for plans to begin with (``cem``)."""
    planner, model = spec.planner
    if planner == "policy":
        return Entrant(spec, _policy(spec), model=model)
    worlds, asked = worlds_of(spec), asker if vlm is not None else None
    if planner == "mcts":
        make = _tree_search(spec, worlds, asked)
    else:
        make = _cross_entropy(worlds, search_of(spec)[0], asked)
    return Entrant(spec, make, vlm, **{"model": model, **facts})


def _tree_search(spec: AgentSpec, worlds: Worlds, asker: Asker | None) -> Make:
    if asker is None:
        alone = tree_search(spec, worlds)
        return lambda vlm, env, shown: alone(env)
    config, search = search_of(spec, rule="puct")

    def make(vlm: VLM, env: Env, shown: Sequence[Demonstration]) -> Agent:
        options = {**_asking(asker), **tree_options(worlds, search, env)}
        return VLMPriorMCTSAgent(vlm, worlds.model(env), config, **options)

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

"""Agents that play with a world model, from ``PLANNER@MODEL``: tree search, cross-entropy, a trained policy, a VLM's plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from atari_vlm.agents.base import Agent
from atari_vlm.agents.in_context.demonstrations import Demonstration
from atari_vlm.agents.planner_specs import (
    cross_entropy,
    search_of,
    trained_policy,
    tree_options,
    tree_search,
    worlds_of,
)
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.agents.vlm_planners import VLMPlansCEMAgent, VLMPriorMCTSAgent
from atari_vlm.agents.worlds import Worlds
from atari_vlm.evaluation.askers import Asker
from atari_vlm.evaluation.entrants import Entrant, Make
from atari_vlm.spaces import Env
from atari_vlm.vlm.base import VLM


def planner_entrant(
    spec: AgentSpec, asker: Asker | None = None, vlm: VLM | None = None, **facts: Any
) -> Entrant:
    """The entrant of a planner; with ``vlm`` the model is asked for a prior (``mcts``) or for plans to begin with (``cem``)."""
    planner, model = spec.planner
    if planner == "policy":
        policy = trained_policy(spec)
        return Entrant(spec, lambda vlm, env, shown: policy(env), model=model)
    worlds, asked = worlds_of(spec), asker if vlm is not None else None
    if planner == "mcts":
        make = _tree_search(spec, worlds, asked)
    else:
        make = _cross_entropy(spec, worlds, asked)
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


def _cross_entropy(spec: AgentSpec, worlds: Worlds, asker: Asker | None) -> Make:
    if asker is None:
        alone = cross_entropy(spec, worlds)
        return lambda vlm, env, shown: alone(env)
    config, plans = search_of(spec)[0], asker.asking.num_plans

    def make(vlm: VLM, env: Env, shown: Sequence[Demonstration]) -> Agent:
        source = worlds.frame_source(env)
        return VLMPlansCEMAgent(
            vlm, worlds.model(env), config, num_plans=plans, frame_source=source, **_asking(asker)
        )

    return make


def _asking(asker: Asker) -> Mapping[str, Any]:
    names = [item.name for item in dataclasses.fields(VLMAgentOptions)]
    options = VLMAgentOptions(**{name: getattr(asker.agent, name) for name in names})
    return {"prompt_type": asker.asking.prompt_type, "options": options}

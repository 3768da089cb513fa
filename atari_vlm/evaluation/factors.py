"""The harness ablation: one option at a time away from the study's own value, everything else equal.

A *factor* is an option of agents that ask a model, with the values that it is tried at. The study's own value is the base; it is
among the conditions whether or not it is one of those values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.agents.vlm_agent import DEFAULT_OPTIONS
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.own_classes import own_class


@dataclass(frozen=True)
class Factor:
    """An option by name, the values that it is tried at, and the value that an agent has when it says nothing."""

    name: str
    option: str
    values: tuple[Any, ...]
    default: Any


@dataclass(frozen=True)
class Condition:
    """An agent with one option at one value."""

    value: Any
    agent: AgentSpec
    is_base: bool


FACTORS = {
    factor.name: factor
    for factor in (
        Factor("prompt", "prompt_type", ("basic", "cot", "expert"), "cot"),
        Factor("frames", "frames", (1, 2, 4), DEFAULT_OPTIONS.frames),
        Factor("turns", "turns", (0, 2, 4), DEFAULT_OPTIONS.turns),
        Factor("icl", "use_icl", (False, True), False),
        Factor("decide_every", "decide_every", (1, 2, 4, 8), DEFAULT_OPTIONS.decide_every),
        Factor("latency", "latency", (None, 0.5, 1.0, 2.0, "measured"), None),
        Factor("plan", "plan", (False, True), False),
        Factor("text", "text", ("picture", "reading", "objects", "objects-only"), "picture"),
    )
}
_OF_LEARNING = ("icl_", "demonstrations", "num_episodes", "round_size")
_OF_PLANS = (
    *("plan_horizon", "num_plans", "use_action_buffer", "action_buffer_size"),
    *("action_buffer_threshold", "follow", "discount", "num_futures", "pessimism"),
    *("reward_tolerance", "picture_tolerance"),
)


def factors_of(words: Sequence[str]) -> list[Factor]:
    """The factors that some words name (commas between them too), each once; ``UnknownNameError`` with the nearest."""
    names = [name.strip().replace("-", "_") for word in words for name in word.split(",")]
    for name in filter(None, names):
        if name not in FACTORS:
            raise UnknownNameError("factor of an ablation", name, FACTORS)
    return [FACTORS[name] for name in dict.fromkeys(filter(None, names))]


def varies(agent: AgentSpec) -> bool:
    """Whether an ablation has anything to say of an agent: whether it is a VLM in this package's harness."""
    if agent.kind == "own":
        return hasattr(own_class(agent.name, "agent"), "complete")
    return agent.kind == "vlm"


def conditions(factor: Factor, agent: AgentSpec, asking: Mapping[str, Any]) -> list[Condition]:
    """The agent under every value of a factor, its own among them; none where the factor says nothing of it."""
    if not varies(agent):
        return []
    given = {**asking, **agent.options}
    own = given.get(factor.option, factor.default)
    if factor.name == "latency" and given.get("real_time"):
        own = "measured"
    values = [*([own] if own not in factor.values else []), *factor.values]
    return [Condition(value, _at(agent, factor, value), _same(value, own)) for value in values]


def _at(agent: AgentSpec, factor: Factor, value: Any) -> AgentSpec:
    """The agent with an option at a value, without the options that would then do nothing."""
    options = {**agent.options, factor.option: value}
    if factor.name == "icl" and not value:
        options = {k: v for k, v in options.items() if not k.startswith(_OF_LEARNING)}
    if factor.name == "plan" and not value:
        options = {k: v for k, v in options.items() if k not in _OF_PLANS}
    if factor.name == "latency":
        options.pop("real_time", None)
    return dataclasses.replace(agent, options=options)


def _same(first: Any, second: Any) -> bool:
    return type(first) is type(second) and bool(first == second)


def check_factors(factors: Sequence[Factor], agents: Sequence[AgentSpec]) -> None:
    """Raise ``ConfigError`` where an ablation has nobody to vary."""
    if factors and not any(varies(agent) for agent in agents):
        raise ConfigError(
            f"--ablate {','.join(factor.name for factor in factors)} varies agents that ask a model, and there is none: "
            "give one with --agents"
        )

"""Agents that ask no model, by their word: random, noop, the scripted player, search, a trained policy, one's own class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atari_vlm.agents.base import Agent
from atari_vlm.agents.make import make_agent
from atari_vlm.agents.planner_specs import (
    check_planner,
    cross_entropy,
    trained_policy,
    tree_search,
    worlds_of,
)
from atari_vlm.agents.simple import ScriptedAgent
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.own_classes import made, own_class, takes
from atari_vlm.spaces import Env

MakeAgent = Callable[[Env], Agent]


def unasked_agent(spec: AgentSpec) -> MakeAgent:
    """What makes an agent for an environment; what it needs (a checkpoint, a module) is looked up here.

    Raises ``ConfigError`` for one that asks a model, which may cost something and whose words would be lost, and for options
    that an agent has not.
    """
    planner, _ = spec.planner
    if spec.kind == "own" and not hasattr(kind := own_kind(spec), "complete"):
        return lambda env: own_agent(spec, kind, env)
    if spec.kind == "simple":
        return simple_agent(spec)
    if spec.name == "scripted":
        ScriptedAgent(**spec.options)
        return lambda env: ScriptedAgent(**spec.options)
    if spec.kind != "planner" or planner == "plan" or "vlm" in spec.options:
        raise ConfigError(
            f"{spec.text} asks a model: play it with `evaluate`, which keeps what was asked and said, and write its episodes "
            "with `report export`"
        )
    if planner == "policy":
        return trained_policy(spec)
    check_planner(spec)
    search = tree_search if planner == "mcts" else cross_entropy
    return search(spec, worlds_of(spec))


def simple_agent(spec: AgentSpec) -> MakeAgent:
    """``random`` or ``noop``, which have no options."""
    for option in spec.options:
        raise UnknownNameError(f"option of the agent {spec.label!r}", option, ())
    return lambda env: make_agent(spec.name, action_space=env.action_space)


def own_kind(spec: AgentSpec) -> type[Any]:
    """The class of ``module:Class``: an agent, or a VLM (it has ``complete``); ``ConfigError`` for one that is neither."""
    kind = own_class(spec.name, "agent")
    missing = [part for part in ("reset", "act", "observe") if not hasattr(kind, part)]
    if missing and not hasattr(kind, "complete"):
        raise ConfigError(
            f"{spec.name} is no agent: an agent has reset(), act() and observe(), a VLM complete(); "
            f"it lacks {', '.join(missing)}"
        )
    return kind


def own_agent(spec: AgentSpec, kind: type[Any], env: Env) -> Agent:
    """An agent of a class of the user's own; one that takes an ``action_space`` and is given none gets the game's."""
    options = dict(spec.options)
    if "action_space" in (takes(kind) or ()) and "action_space" not in options:
        options["action_space"] = env.action_space
    agent: Agent = made(spec.name, kind, options)
    return agent

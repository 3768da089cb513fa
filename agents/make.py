"""``make_agent``: from a name on the command line to an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium

from atari_vlm.agents.base import Agent
from atari_vlm.agents.simple import NoopAgent, RandomAgent
from atari_vlm.agents.vlm_agent import DEFAULT_OPTIONS, VLMAgent, VLMAgentOptions
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.types import Message
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.catalogue import known_names
from atari_vlm.vlm.load import load_vlm
from atari_vlm.vlm.local.tiny.bundled import ways

SIMPLE_NAMES = ("random", "noop")


def agent_names() -> tuple[str, ...]:
    """Every name that :func:`make_agent` takes."""
    return (*SIMPLE_NAMES, *known_names())


def make_agent(
    name: str,
    *,
    action_space: gymnasium.Space[Any] | None = None,
    prompt_type: str | None = None,
    examples: Sequence[Message] = (),
    vlm: VLM | None = None,
    options: VLMAgentOptions = DEFAULT_OPTIONS,
    **vlm_options: Any,
) -> Agent:
    """Build an agent: ``random``, ``noop``, or any name that ``--vlm`` takes.

    ``vlm`` is asked instead of one that is loaded by name (a journalled or cached one, say). ``vlm_options`` go to
    ``load_vlm``. ``prompt_type`` is ``cot`` unless said otherwise, and that of its training for the bundled ``tiny``.
    ``action_space`` serves random and noop where observations hold no action list. Raises
    ``UnknownNameError`` for another name, ``ConfigError`` for options that the agent has no use for.
    """
    if name not in agent_names():
        raise UnknownNameError("agent", name, agent_names())
    if name not in SIMPLE_NAMES:
        backend = load_vlm(name, **vlm_options) if vlm is None else vlm
        style = prompt_type or ways(name, vlm_options).get("prompt_type", "cot")
        return VLMAgent(backend, prompt_type=style, examples=examples, options=options)
    if vlm is not None or vlm_options:
        raise ConfigError(
            f"the agent {name!r} asks no VLM; it takes no {next(iter(vlm_options), 'vlm')!r}"
        )
    return (
        RandomAgent(action_space=action_space)
        if name == "random"
        else NoopAgent(action_space=action_space)
    )

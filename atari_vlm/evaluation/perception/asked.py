"""Whom questions are put to: the VLM of an agent's spec, within the limits of the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.askers import key_of, sorted_options
from atari_vlm.own_classes import own_class
from atari_vlm.runs.options import CacheOptions, EndpointOptions, LimitOptions, names_of
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling, close_vlm
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.stack import limited
from atari_vlm.vlm.load import load_vlm

REPLY_TOKENS = 1024


@dataclass(frozen=True)
class AskingLimits(CacheOptions, LimitOptions):
    """What asking may cost, and where replies are kept."""


class AskedAnew:
    """A VLM whose repeated draws (``Sampling.sample`` above 0) never come from the cache; all others may."""

    def __init__(self, kept: VLM, anew: VLM):
        self._kept, self._anew = kept, anew
        self.name, self.capabilities = kept.name, kept.capabilities

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Ask."""
        vlm = self._anew if sampling.sample else self._kept
        return vlm.complete(messages, sampling=sampling)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Scores of choices."""
        return self._kept.score_choices(messages, choices)


@dataclass(frozen=True)
class Asked:
    """An agent that answers questions: its label, its VLM, and how replies are drawn."""

    label: str
    vlm: VLM
    sampling: Sampling


def asked_of(spec: AgentSpec, limits: AskingLimits, budget: Budget, opened: ExitStack) -> Asked:
    """The VLM of a spec. What is opened for it is closed with ``opened``.

    Raises ``ConfigError`` (or its ``UnknownNameError``) for an agent that asks no VLM, and for options that are of playing.
    """
    own = spec.kind == "own" and hasattr(own_class(spec.name, "agent"), "complete")
    if spec.kind != "vlm" and not own:
        raise ConfigError(
            f"the agent {spec.label!r} cannot be asked what it sees: name a VLM, or a class of your own with complete()"
        )
    asker = sorted_options(spec, spec.name, {"reply_tokens": REPLY_TOKENS})
    ours = {*names_of(EndpointOptions), "api_key_env", "reply_tokens", "temperature", *asker.model}
    for name in spec.options:
        if name not in ours:
            raise ConfigError(
                f"the agent {spec.label!r}: {name} is of playing; perceive only asks questions"
            )
    key = key_of(asker.endpoint)
    given = {name: value for name, value in asker.endpoint.items() if name != "api_key_env"}
    secret: dict[str, Any] = {"api_key": key} if key else {}
    backend = load_vlm(spec.name, **{**secret, **given, **asker.model})
    opened.callback(close_vlm, backend)
    kept = limited(backend, limits, api_key=key, budget=budget)
    opened.callback(kept.close)
    uncached = dataclasses.replace(limits, cache=None, cache_mode="readwrite")
    anew = limited(backend, uncached, api_key=key, budget=budget)
    sampling = Sampling(
        temperature=asker.agent.temperature, max_tokens=asker.asking.reply_tokens, seed=0
    )
    return Asked(spec.label, AskedAnew(kept, anew), sampling)

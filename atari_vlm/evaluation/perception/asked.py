"""Whom questions are put to: the VLM that a word ``[LABEL=]NAME[,OPTION=VALUE...]`` names, within the limits of the run."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.agents.make import SIMPLE_NAMES
from atari_vlm.errors import ConfigError, UnknownNameError, reading
from atari_vlm.runs.options import CacheOptions, KeyOptions, LimitOptions, pairs
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling, close_vlm
from atari_vlm.vlm.catalogue import OFFLINE_NAMES, entries
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.stack import limited
from atari_vlm.vlm.load import load_vlm
from atari_vlm.vlm.remote.keys import refuse_keys

REPLY_TOKENS = 1024


@dataclass(frozen=True)
class AgentSpec:
    """An agent by name. ``label`` is what it is called in every table, ``options`` are plain data; ``text`` is the word."""

    label: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""


def parse_agents(words: Sequence[str]) -> list[AgentSpec]:
    """The agents that some words mean, in order.

    Raises ``ConfigError`` where two have one label, for a key in a word, and for what answers no questions.
    """
    specs = [_parsed(word) for word in words]
    labels = [spec.label for spec in specs]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(
                f"two agents are called {label!r}; give each a label of its own (LABEL={label},...)"
            )
    return specs


def reaches_outside(words: Sequence[str]) -> bool:
    """Whether one of some words may run code, open an address or read a file: any that says more than a known name."""
    return any(mark in word for word in words for mark in ",:")


def _parsed(word: str) -> AgentSpec:
    refuse_keys({"an agent": word})
    head, *rest = [piece.strip() for piece in word.split(",")]
    label, equals, name = head.partition("=")
    if not equals:
        name = label
    if name in SIMPLE_NAMES or "@" in name:
        raise ConfigError(
            f"the agent {label!r} cannot be asked what it sees: name a VLM, or a class of your own with complete()"
        )
    known = [*entries(), *OFFLINE_NAMES]
    if ":" not in name and name not in known:
        raise UnknownNameError("agent", name, known)
    return AgentSpec(label, name, pairs(tuple(rest), f"the agent {label!r}, option"), word)


def _own(name: str, options: Mapping[str, Any]) -> VLM:
    """A VLM of the user's own class, found from the working directory too."""
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    with reading(f"{name} cannot be made: it", ConfigError):
        kind = getattr(importlib.import_module(module), attribute)
        vlm: VLM = kind(**options)
    if not hasattr(vlm, "complete"):
        raise ConfigError(f"{name} cannot be asked what it sees: it has no complete()")
    return vlm


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

    Raises ``ConfigError`` for options that the model does not take.
    """
    given = dict(spec.options)
    tokens, temperature = given.pop("reply_tokens", REPLY_TOKENS), given.pop("temperature", None)
    key = KeyOptions(api_key_env=given.pop("api_key_env", None)).key()
    if ":" in spec.name:
        backend = _own(spec.name, given)
    else:
        backend = load_vlm(spec.name, **{**({"api_key": key} if key else {}), **given})
    opened.callback(close_vlm, backend)
    kept = limited(backend, limits, api_key=key, budget=budget)
    opened.callback(kept.close)
    uncached = dataclasses.replace(limits, cache=None, cache_mode="readwrite")
    anew = limited(backend, uncached, api_key=key, budget=budget)
    sampling = Sampling(temperature=temperature, max_tokens=tokens, seed=0)
    return Asked(spec.label, AskedAnew(kept, anew), sampling)

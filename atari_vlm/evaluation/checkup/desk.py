"""Where an endpoint is asked: as an agent of a study asks it, under any options, within the limits of the check."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.agents.base import Agent
from atari_vlm.agents.messages import check_counts
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.errors import ConfigError, NotSupportedError, RequestError, UnavailableError
from atari_vlm.evaluation.entrants import Entrant
from atari_vlm.evaluation.entry import Defaults, Entry
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.options import (
    AskOptions,
    FileOptions,
    KeyOptions,
    ModelOptions,
    Options,
    pairs,
)
from atari_vlm.spaces import Env
from atari_vlm.types import Decision, Message, Reply
from atari_vlm.vlm.base import VLM, Sampling
from atari_vlm.vlm.catalogue import OFFLINE_NAMES, entry
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.stack import budget_of

TOKENS = 512  # of a reply: as many as an agent of a study allows
GAME = "Pong"
_PATIENCE = {"retry": {"max_attempts": 3, "first_contact_attempts": 3, "max_wait_s": 5.0}}


@dataclass(frozen=True)
class CheckOptions(Options):
    """Whom to ask."""

    vlm: str = ""
    """gpt-4o, claude, gemini, qwen-vl, llava, cogvlm2, video-llava, idefics2, text, tiny, module:Class (with complete())"""
    json: str | None = None
    """write what was found to this file"""
    seed: int = 0
    """which pictures are shown: 0 or more"""
    scores: bool = False
    """ask a server too whether it scores given answers (it is asked anyway where it keeps to no form of an answer)"""

    def __post_init__(self) -> None:
        check_counts(seed=self.seed)
        super().__post_init__()


@dataclass(frozen=True)
class CheckConfig(FileOptions, KeyOptions, ModelOptions, AskOptions, CheckOptions):
    """Whom to ask, and what it may cost."""

    program = "check"

    @property
    def given(self) -> dict[str, Any]:
        """The options of the agent that the command line names."""
        names = ("model", "adapter", "base_url", "api_key_env")
        endpoint = {name: getattr(self, name) for name in names}
        named: dict[str, Any] = {k: v for k, v in endpoint.items() if v is not None}
        if self.timeout_s != AskOptions.timeout_s:
            named["timeout_s"] = self.timeout_s
        return named

    @property
    def vlm_options(self) -> dict[str, Any]:
        """The settings of the model that it names."""
        return pairs(self.vlm_option, "--vlm-option")

    def spec(self, options: Mapping[str, Any]) -> AgentSpec:
        """The agent with these options; ``ConfigError`` for one that asks no model."""
        if not self.vlm:
            raise ConfigError(
                "say whom to ask: --vlm NAME (gpt-4o, claude, gemini, qwen-vl ...), with --base-url for a server of your own"
            )
        spec = AgentSpec(self.vlm, self.vlm, {**self.given, **options})
        if spec.kind not in ("vlm", "own") or self.vlm in OFFLINE_NAMES:
            raise ConfigError(f"--vlm {self.vlm} asks no model, so there is nothing to check")
        return spec


@dataclass(frozen=True)
class Asked:
    """One question that was answered."""

    messages: Sequence[Message]
    reply: Reply
    tokens: int


@dataclass
class Desk:
    """Asks the VLM of a configuration.

    ``asked`` is every question so far with its reply, but those of the game; ``replies`` is every reply.
    """

    config: CheckConfig
    budget: Budget = field(init=False)
    asked: list[Asked] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    _opened: ExitStack = field(default_factory=ExitStack)
    _entrants: dict[str, Entrant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = budget_of(self.config)
        defaults = Defaults(self.config, key=self.config.key())
        self._entry = Entry(defaults, self.budget, self._opened)

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def dialect(self) -> str:
        """``openai``, ``anthropic``, ``google``: what a server is spoken to in; empty for a model in this process."""
        name = self.config.vlm
        if ":" in name:
            return ""
        row = entry(name)
        if row.kind == "api":
            return row.backend
        return "openai" if self.config.base_url else ""

    def entrant(self, options: Mapping[str, Any]) -> Entrant:
        """The agent with these options, as a study would have it. Raises ``ConfigError`` for options that cannot be."""
        key = json.dumps(options, sort_keys=True)
        if key not in self._entrants:
            patience = _PATIENCE if self.dialect else {}
            spec = self.config.spec({**patience, **options})
            labelled = AgentSpec(f"check {len(self._entrants)}", spec.name, spec.options)
            entrant = self._entry.entrant(labelled)
            if entrant.vlm is None:
                raise ConfigError(f"{spec.name} asks no model: a VLM has complete()")
            self._entrants[key] = entrant
        return self._entrants[key]

    def vlm(self, options: Mapping[str, Any]) -> VLM:
        """Whom it asks."""
        return self.entrant(options).asked

    def ask(
        self,
        messages: Sequence[Message],
        options: Mapping[str, Any],
        schema: Mapping[str, Any] | None = None,
        choices: tuple[str, ...] | None = None,
    ) -> Reply:
        """One question; raises what the VLM raises."""
        tokens = int(options.get("reply_tokens", TOKENS))
        sampling = Sampling(max_tokens=tokens, schema=schema, choices=choices)
        reply = self.vlm(options).complete(messages, sampling=sampling)
        room = tokens + int(options.get("reasoning_tokens", 0))
        self.asked.append(Asked(messages, reply, room))
        self.replies.append(reply)
        return reply

    def decide(self, options: Mapping[str, Any]) -> Decision:
        """The first decision of a game by an agent with these options, who is asked once."""
        entrant = self.entrant({**options, "max_reasks": 0})
        env = make_env({"game_name": GAME, "env": {}, **entrant.scene})
        try:
            decision = _first_decision(entrant.make(entrant.asked, env, ()), env)
        finally:
            env.close()
        self.replies += decision.replies
        return decision

    @property
    def is_served(self) -> bool:
        """Whether it is a server of one's own that is asked, and may have more than OpenAI's address."""
        return self.dialect == "openai" and self.config.base_url is not None

    def refusal_of_scores(
        self, messages: Sequence[Message], choices: Sequence[str], options: Mapping[str, Any]
    ) -> str:
        """Why the VLM does not say how probable each choice is; empty if it does."""
        try:
            scores = self.vlm(options).score_choices(messages, choices)
        except (ConfigError, NotSupportedError, RequestError, UnavailableError) as error:
            return str(error)
        return "" if len(scores) == len(choices) else "not one score for each choice"


def _first_decision(agent: Agent, env: Env) -> Decision:
    agent.reset(seed=0)
    observation, _ = env.reset(seed=0)
    return agent.act(observation)

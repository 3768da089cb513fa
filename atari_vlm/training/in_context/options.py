"""What a :class:`~atari_vlm.training.in_context.trainer.VLMTrainer` can be told, and which seeds its episodes get."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.runs.player import Progress, Silence
from atari_vlm.training.in_context.examples import InContextOptions
from atari_vlm.vlm.layers.cache import CacheMode
from atari_vlm.vlm.remote.keys import check_url


@dataclass(frozen=True)
class TrainerOptions:
    """What :class:`VLMTrainer` takes besides its first arguments.

    Results depend on: ``model``, ``base_url``, ``vlm_options`` (further keywords of ``load_vlm``), ``seed``, ``max_steps`` (per
    episode; ``None``: the environment's own limit), ``round_size`` (episodes between learning), ``eval_episodes`` (of the
    evaluations within training), ``in_context``, ``agent``, ``env`` (keywords of ``AtariVLMEnvironment``), ``latency`` (of
    ``LatencyAware``: ``"measured"`` makes waiting for a reply cost game time), ``demonstrations`` (a Minari dataset to begin
    with), and ``plan`` (plain data that tells runs apart which are otherwise equal).

    They do not depend on: ``parallel`` (episodes at once), the limits on dollars, calls and tokens of the whole run (its earlier
    parts included), ``cache`` (path of a reply cache shared between runs) with its ``cache_mode``, ``timeout_s``, ``videos`` (how
    many), ``run_name``, ``resume`` (name or path of a run), ``command`` (noted in config.yaml), ``progress`` and ``stop`` (set it
    to end the run after the current steps).
    """

    model: str | None = None
    base_url: str | None = None
    vlm_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    max_steps: int | None = None
    round_size: int = 4
    eval_episodes: int = 2
    in_context: InContextOptions = field(default_factory=InContextOptions)
    agent: VLMAgentOptions = field(default_factory=VLMAgentOptions)
    env: Mapping[str, Any] = field(default_factory=dict)
    latency: str | float | Mapping[str, Any] | None = None
    demonstrations: str | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    parallel: int = 1
    budget_usd: float | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    cache: str | Path | None = None
    cache_mode: CacheMode = "readwrite"
    timeout_s: float = 60.0
    videos: int = 2
    run_name: str | None = None
    resume: str | None = None
    command: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Silence)
    stop: threading.Event | None = None

    def __post_init__(self) -> None:
        check_positive(round_size=self.round_size, parallel=self.parallel, eval_episodes=self.eval_episodes)
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)
        if not 0 <= self.seed <= 100_000:
            raise ConfigError(f"seed must be 0 to 100000, got {self.seed!r}")
        if self.base_url is not None:
            check_url(self.base_url)
        if self.cache is None and self.cache_mode != "readwrite":
            raise ConfigError(f"cache_mode {self.cache_mode!r} needs a cache")

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> TrainerOptions:
        """Options from keywords; a ``ConfigError`` names one that there is not."""
        known = [option.name for option in dataclasses.fields(cls)]
        for name in keywords:
            if name not in known:
                raise ConfigError(f"VLMTrainer has no option {name!r}; it has: {', '.join(known)}")
        return cls(**keywords)

    def settings(self) -> dict[str, Any]:
        """What results depend on, as plain data."""
        names = ("model", "base_url", "seed", "max_steps", "round_size", "eval_episodes", "latency", "demonstrations")
        chosen = {name: getattr(self, name) for name in names}
        nested = {"in_context": dataclasses.asdict(self.in_context), "agent": dataclasses.asdict(self.agent)}
        plain = {"env": dict(self.env), "plan": dict(self.plan), "vlm_options": dict(self.vlm_options)}
        return {**chosen, **nested, **plain}

    def execution(self) -> dict[str, Any]:
        """How the run is carried out, as plain data."""
        names = ("parallel", "budget_usd", "max_calls", "max_tokens", "timeout_s", "videos", "cache_mode")
        cache = None if self.cache is None else str(self.cache)
        return {**{name: getattr(self, name) for name in names}, "cache": cache}

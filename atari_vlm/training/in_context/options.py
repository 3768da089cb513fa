"""What a :class:`~atari_vlm.training.in_context.trainer.VLMTrainer` can be told, and which seeds its episodes get."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.agents.in_context.examples import InContextOptions
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import check_positive
from atari_vlm.runs.options import (
    AskOptions,
    CacheOptions,
    FolderOptions,
    LimitOptions,
    LogOptions,
    PlayOptions,
    SeedOptions,
    execution_of,
    names_of,
)
from atari_vlm.runs.progress import Progress, Quiet
from atari_vlm.settings import check_names, plain


@dataclass(frozen=True)
class TrainerOptions(FolderOptions, LogOptions, PlayOptions, SeedOptions, AskOptions):
    """What :class:`VLMTrainer` takes besides its first arguments.

    Results depend on: ``model``, ``adapter``, ``base_url``, ``vlm_options`` (further keywords of ``load_vlm``), ``seed``,
    ``max_steps`` (per episode; ``None``: the environment's own limit), ``round_size`` (episodes between learning),
    ``eval_episodes`` (of the evaluations within training), ``in_context``, ``agent``, ``env`` (keywords of
    ``AtariVLMEnvironment``), ``latency`` (of ``LatencyAware``: ``"measured"`` makes waiting for a reply cost game time),
    ``demonstrations`` (a Minari dataset to begin with), and ``plan`` (plain data that tells runs apart which are else equal).

    They do not depend on: ``parallel`` (episodes at once), the limits on dollars, calls and tokens of the whole run (its earlier
    parts included), ``cache`` (path of a reply cache shared between runs) with its ``cache_mode``, ``timeout_s``, ``videos`` (how
    many), ``log`` (names of trackers), ``run_name``, ``resume`` (name or path of a run), ``command`` and ``command_line`` (noted
    in config.yaml), ``progress`` and ``stop`` (set it to end the run after the current steps).
    """

    vlm_options: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    round_size: int = 4
    eval_episodes: int = 2
    in_context: InContextOptions = field(default_factory=InContextOptions)
    agent: VLMAgentOptions = field(default_factory=VLMAgentOptions)
    env: Mapping[str, Any] = field(default_factory=dict)
    latency: str | float | Mapping[str, Any] | None = None
    demonstrations: str | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    command: Mapping[str, Any] = field(default_factory=dict)
    command_line: str = ""
    progress: Progress = field(default_factory=Quiet)
    stop: threading.Event | None = None

    def __post_init__(self) -> None:
        check_positive(round_size=self.round_size, eval_episodes=self.eval_episodes)
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)
        super().__post_init__()

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> TrainerOptions:
        """Options from keywords; an ``UnknownNameError`` names one that there is not."""
        check_names(
            keywords, [option.name for option in dataclasses.fields(cls)], "option of VLMTrainer"
        )
        return cls(**keywords)

    def settings(self) -> dict[str, Any]:
        """What results depend on, as plain data."""
        carried_out = names_of(LimitOptions, CacheOptions, PlayOptions, LogOptions, FolderOptions)
        others = (*carried_out, "timeout_s", "command", "command_line", "progress", "stop")
        return {
            item.name: plain(getattr(self, item.name))
            for item in dataclasses.fields(self)
            if item.name not in others
        }

    def execution(self) -> dict[str, Any]:
        """How the run is carried out, as plain data."""
        return execution_of(self)

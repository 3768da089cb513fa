"""The options of ``evaluate``: who plays what, under which protocol, and what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from atari_vlm.agents.specs import parse_agents
from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.prompts import check_style
from atari_vlm.runs.cluster.options import ExecutorOptions
from atari_vlm.runs.options import (
    AT_START,
    OWN_CODE,
    TYPED_ONLY,
    UNRECORDED,
    AskOptions,
    FileOptions,
    FolderOptions,
    KeyOptions,
    LogOptions,
    ModelOptions,
    Options,
    Pairs,
    PlayOptions,
    is_typed_only,
)
from atari_vlm.runs.serve_options import ServeOptions
from atari_vlm.runs.sharding import JobArrayOptions
from atari_vlm.settings import plain

BASELINES = ("random", "scripted")


def reaches_outside(words: Any) -> bool:
    """Whether one of some agents runs code, opens an address, or reads a file: taken from the command line only."""
    specs = parse_agents(list(words))
    typed = {
        "adapter",
        "base_url",
        "demonstrations",
        "trust_remote_code",
        "revision",
        "api_key_env",
        "extra_body",
    }
    return any(
        spec.kind == "own"
        or (spec.kind == "planner" and spec.planner[1] not in ("emulator", "catch"))
        or typed & {*spec.options}
        or ":" in str(spec.options.get("vlm", ""))
        or ("model" in spec.options and is_typed_only("model", "x", {"vlm": spec.name}, _MODEL))
        for spec in specs
    )


class _MODEL:
    """Stands for the field of that name."""

    metadata = TYPED_ONLY


@dataclass(frozen=True)
class StudyOptions(Options):
    """What is played, by whom."""

    games: list[str] | None = field(default=None, metadata=OWN_CODE)
    """names of games, or any gymnasium id (module:Id of your own), with keywords: ID,KEYWORD=VALUE; default: the suite's"""
    agents: list[str] = field(
        default_factory=lambda: list(BASELINES), metadata={"typed only": reaches_outside}
    )
    """LABEL=NAME,OPTION=VALUE...: random, noop, what train's --vlm takes, PLANNER@MODEL or module:Class; random, scripted join"""
    seeds: list[int] | None = None
    """one run each: what the intervals are drawn over; without them the protocol's"""
    episodes: int | None = None
    """episodes in a run; its score is their mean return; without it the protocol's"""
    study: Path | None = field(default=None, metadata=AT_START)
    """YAML file with the whole study: these options under their names; the command line goes before it"""
    suite: str | None = None
    """quick, atari-gpt, atari26, human-optimal or all: games with a protocol"""
    protocol: str | None = None
    """standard, quick, atari100k or atari-gpt: the conditions, without it the suite's, else standard"""
    ablate: list[str] = field(default_factory=list)
    """prompt, frames, turns, icl, decide_every, latency, plan, text: one thing at a time, on the same seeds"""
    estimate: bool = field(default=False, metadata=UNRECORDED)
    """play nothing: say what the study will take, from one real request per agent"""

    @classmethod
    def in_file(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """A file's agents may be mappings ``{label, agent, options}``; its lists may be one word with commas."""
        content = {str(name).replace("-", "_"): value for name, value in content.items()}
        if "agents" in content:
            content["agents"] = [spec.text for spec in parse_agents(content["agents"])]
        for name in ("games", "ablate"):
            if isinstance(content.get(name), str):
                content[name] = [content[name]]
        return content


@dataclass(frozen=True)
class StudyAskingOptions(Options):
    """How agents that ask a model do so and how long episodes are, where agent and protocol do not say otherwise."""

    max_steps: int | None = None
    """steps per episode, 4 emulator frames each; without it the protocol's"""
    prompt_type: Literal["basic", "cot", "expert"] | None = None
    """what the instructions say (none: cot)"""
    frames: int | None = None
    """pictures in a question: the last so many steps (none: 2)"""
    temperature: float | None = None
    """of the model (none: the vendor's)"""
    reply_tokens: int | None = None
    """longest reply (none: 512)"""
    agent_option: Pairs = ()
    """NAME=VALUE, several times: any other field of VLMAgentOptions (max_reasks, fallback, decide_every ...)"""
    env_option: Pairs = ()
    """NAME=VALUE, several times: a keyword of AtariVLMEnvironment (frame_skip, resize_shape ...)"""

    def __post_init__(self) -> None:
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)
        if self.prompt_type is not None:
            check_style(self.prompt_type)
        super().__post_init__()


@dataclass(frozen=True)
class EvaluateConfig(
    FileOptions, FolderOptions, ServeOptions, LogOptions, JobArrayOptions, ExecutorOptions, PlayOptions,
    KeyOptions, ModelOptions, AskOptions, StudyAskingOptions, StudyOptions,
):  # fmt: skip
    """What is played, by whom, and what it may cost. Model, address and key are for the one agent that is not an offline one."""

    program = "evaluate"

    def __post_init__(self) -> None:
        if self.study is not None and self.config is not None:
            raise ConfigError("--study and --config both name the file of the study; give one")
        if self.estimate and not self.part().is_whole:
            raise ConfigError("--estimate is of the whole study; leave --shard away")
        if self.estimate and self.executor != "local":
            raise ConfigError("--estimate asks from this process; leave --executor away")
        super().__post_init__()


def theirs(config: EvaluateConfig) -> list[str]:
    """The options given that belong to a single agent."""
    names = ("model", "adapter", "base_url", "api_key", "api_key_env", "vlm_option")
    return [name for name in names if plain(getattr(config, name))]

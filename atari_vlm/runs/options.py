"""Options that several programs have, each declared once and inherited: a program's configuration is a list of such groups.

As everywhere in Python, the fields of the base that is named last come first, on the command line too.

A group's docstring heads its options in ``--help``. Marks stand at an option's declaration and say what becomes of it when
a run is continued with ``--resume`` (:mod:`atari_vlm.runs.option_files`):

- :data:`TYPED_ONLY`: it runs code, opens an address, or reads or writes somewhere. A run folder may be a stranger's, so this is
  taken from the command line and from nowhere else. A function in its place says which values do.
- :data:`UNRECORDED`: it names the run or holds a secret, and is written into no run.
- :data:`AT_START`: a file or folder that a run reads at its beginning; a run that is continued does not need it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from atari_vlm.errors import AuthenticationError, ConfigError, check_positive, reading
from atari_vlm.prompts import check_style
from atari_vlm.runs.trackers import LogConfig
from atari_vlm.settings import plain
from atari_vlm.vlm.catalogue import entries
from atari_vlm.vlm.layers.cache import CacheMode
from atari_vlm.vlm.local.tiny.bundled import ways
from atari_vlm.vlm.remote.keys import check_url, refuse_keys
from atari_vlm.yaml_files import plain_yaml

TYPED_ONLY: dict[str, Any] = {"typed only": True}
UNRECORDED: dict[str, Any] = {"recorded": False}
OWN_CODE: dict[str, Any] = {
    "typed only": lambda value: ":" in str(value)
}  # module:Name is imported
LATE: dict[str, Any] = {"late": True}  # its default becomes a value when the configuration is whole
AT_START: dict[str, Any] = {**TYPED_ONLY, **UNRECORDED, "at start": True}
Pairs = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True)
class Options:
    """Base of every group, and so of every configuration: ``program`` is what follows ``python -m atari_vlm.``."""

    program: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """What a group refuses; each calls the next one's."""

    @classmethod
    def in_file(cls, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options of a ``--config`` file under their names; a program may have groups of its own there."""
        return content


@dataclass(frozen=True)
class GameOptions(Options):
    """What is played, and by whom."""

    vlm: str = field(default="scripted", metadata=OWN_CODE)
    """gpt-4o, claude, gemini, qwen-vl, llava, cogvlm2, video-llava, idefics2, tiny,
    scripted, nearest-example, replay, module:Class"""
    game: str = field(default="Pong-v5", metadata=OWN_CODE)
    """any of the games of ALE, Catch, or any gymnasium id (module:Id of your own)"""
    num_episodes: int = 6
    """episodes"""

    def __post_init__(self) -> None:
        check_positive(num_episodes=self.num_episodes)
        super().__post_init__()


@dataclass(frozen=True)
class SeedOptions(Options):
    """Where episodes begin."""

    seed: int = 0
    """0 to 100000"""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= 100_000:
            raise ConfigError(f"seed must be 0 to 100000, got {self.seed!r}")
        super().__post_init__()


@dataclass(frozen=True)
class EpisodeOptions(Options):
    """Episodes and what the model is told."""

    max_steps: int | None = 200
    """steps per episode, 4 emulator frames each; none: the environment's own limit"""
    prompt_type: Literal["auto", "basic", "cot", "expert"] = field(default="auto", metadata=LATE)
    """what the instructions say; auto: cot, and for --vlm tiny what that was trained with"""
    env_option: Pairs = ()
    """NAME=VALUE, several times: a keyword of AtariVLMEnvironment (frame_skip, resize_shape ...)"""

    def __post_init__(self) -> None:
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)
        if self.prompt_type == "auto":
            told = ways(getattr(self, "vlm", ""), vars(self)).get("prompt_type", "cot")
            object.__setattr__(self, "prompt_type", told)
        check_style(self.prompt_type)
        super().__post_init__()


@dataclass(frozen=True)
class AnswerOptions(Options):
    """What is asked at a step, and how the answer is had."""

    frames: int = 2
    """pictures in a question: the last so many steps"""
    temperature: float | None = None
    """of the model (none: the vendor's)"""
    reply_tokens: int = 512
    """longest reply"""
    agent_option: Pairs = ()
    """NAME=VALUE, several times: any other field of VLMAgentOptions (max_reasks, fallback, decide_every ...)"""


@dataclass(frozen=True)
class FolderOptions(Options):
    """The run: where it lies, and which one is continued."""

    save_dir: Path = field(default=Path("atari_vlm_results"), metadata=UNRECORDED)
    """where runs lie"""
    run_name: str | None = field(default=None, metadata=UNRECORDED)
    """name of the run folder; without it made from what is played, and numbered"""
    resume: str | None = field(default=None, metadata=UNRECORDED)
    """name (in --save-dir) or path of a run to continue; what it was started with holds"""


@dataclass(frozen=True)
class FileOptions(Options):
    """Options from a file."""

    config: Path | None = field(default=None, metadata=UNRECORDED)
    """YAML file with any of these options; the command line goes before it"""


@dataclass(frozen=True)
class ParallelOptions(Options):
    """How much is done at once; results do not depend on it."""

    parallel: int = 1
    """episodes (or series of questions) at once"""

    def __post_init__(self) -> None:
        check_positive(parallel=self.parallel)
        super().__post_init__()


@dataclass(frozen=True)
class VideoOptions(Options):
    """What is filmed; results do not depend on it."""

    videos: int = 2
    """mp4s at the end, if imageio-ffmpeg is installed"""

    def __post_init__(self) -> None:
        if self.videos < 0:
            raise ConfigError(f"videos must be 0 or more, got {self.videos!r}")
        super().__post_init__()


@dataclass(frozen=True)
class PlayOptions(VideoOptions, ParallelOptions):
    """How episodes are played; results do not depend on it."""


@dataclass(frozen=True)
class LogOptions(Options):
    """Who else is told the numbers."""

    log: tuple[str, ...] = ()
    """wandb, trackio, tensorboard: where metrics go besides metrics.jsonl and, where it is installed, TensorBoard"""

    def __post_init__(self) -> None:
        LogConfig(self.log)
        super().__post_init__()


@dataclass(frozen=True)
class LimitOptions(Options):
    """What a run may cost, its earlier parts included; it stops before it costs more (exit code 75) and can be continued."""

    budget_usd: float | None = None
    """dollars"""
    max_calls: int | None = None
    """calls that are paid for"""
    max_tokens: int | None = None
    """tokens of those calls"""

    def __post_init__(self) -> None:
        limits = {name: getattr(self, name) for name in ("budget_usd", "max_calls", "max_tokens")}
        check_positive(**{name: limit for name, limit in limits.items() if limit is not None})
        super().__post_init__()


@dataclass(frozen=True)
class EndpointOptions(Options):
    """Which model answers, and where it is asked."""

    model: str | None = field(default=None, metadata=TYPED_ONLY)
    """model id of the vendor or on the hub, or the path of a folder; without it the catalogue's"""
    adapter: str | None = field(default=None, metadata=TYPED_ONLY)
    """folder of an adapter that `atari_vlm.tune` trained for that model, which is loaded in this process"""
    base_url: str | None = field(default=None, metadata=TYPED_ONLY)
    """an OpenAI-compatible server (vLLM, Ollama, llama.cpp, LM Studio, OpenRouter), or the vendor's other address"""
    timeout_s: float = 60.0
    """seconds that one request may take"""

    def __post_init__(self) -> None:
        check_positive(timeout_s=self.timeout_s)
        refuse_keys({"model": self.model, "base_url": self.base_url})
        if self.base_url is not None:
            check_url(self.base_url)
        super().__post_init__()


@dataclass(frozen=True)
class CacheOptions(Options):
    """Replies kept between runs."""

    cache: Path | None = field(default=None, metadata=TYPED_ONLY)
    """reply cache shared between runs (SQLite)"""
    cache_mode: CacheMode = "readwrite"
    """read: store nothing; replay-only: ask nothing, a reply that the cache does not hold is an error"""

    def __post_init__(self) -> None:
        if self.cache is None and self.cache_mode != "readwrite":
            raise ConfigError(f"cache_mode {self.cache_mode!r} needs a cache (--cache FILE)")
        super().__post_init__()


@dataclass(frozen=True)
class KeyOptions(Options):
    """The key that is sent with requests; it is written nowhere."""

    api_key: str | None = field(default=None, repr=False, metadata=UNRECORDED)
    """the key itself, seen by all who list processes; without it the vendor's variable, for example OPENAI_API_KEY"""
    api_key_env: str | None = field(default=None, metadata={**TYPED_ONLY, **UNRECORDED})
    """NAME of an environment variable that holds the key: the way for a server of one's own (--base-url)"""

    def key(self) -> str | None:
        """The key to send: ``api_key``, else what the named variable holds; ``None`` leaves it to the vendor's variables."""
        if self.api_key is not None and self.api_key_env is not None:
            raise ConfigError("give --api-key or --api-key-env, not both")
        if self.api_key_env is None:
            return self.api_key
        name = self.api_key_env
        if not _VARIABLE.fullmatch(name):  # perhaps a key: it is not shown
            raise ConfigError(
                "--api-key-env takes the NAME of an environment variable (capitals, digits and _), not a key"
            )
        if not os.environ.get(name, "").strip():
            raise AuthenticationError(f"--api-key-env {name}: that environment variable is not set")
        return os.environ[name]


@dataclass(frozen=True)
class ModelOptions(Options):
    """Further settings of the model, by name."""

    vlm_option: Pairs = field(default=(), metadata=TYPED_ONLY)
    """NAME=VALUE, several times: a field of RemoteOptions (structured ...) or, in-process, of LocalOptions (dtype ...)"""


@dataclass(frozen=True)
class AskOptions(CacheOptions, LimitOptions, EndpointOptions):
    """Everything about asking a VLM that is no secret."""


def names_of(*groups: type[Options]) -> tuple[str, ...]:
    """The options of some groups."""
    return tuple(item.name for group in groups for item in dataclasses.fields(group))


def shared(config: Any, kind: type[Any]) -> dict[str, Any]:
    """The options that a configuration has in common with another dataclass, for handing them on."""
    return {
        item.name: getattr(config, item.name)
        for item in dataclasses.fields(kind)
        if hasattr(config, item.name)
    }


def execution_of(config: Options) -> dict[str, Any]:
    """How a run is carried out, which its results do not depend on, as plain data."""
    names = ("timeout_s", *names_of(PlayOptions, LogOptions, LimitOptions, CacheOptions))
    return {name: plain(getattr(config, name)) for name in names if hasattr(config, name)}


def pairs(options: tuple[str, ...], flag: str) -> dict[str, Any]:
    """``NAME=VALUE`` words as a mapping; a value is read as YAML (``3``, ``true``, ``low``, ``{a: 1}``), the last one wins."""
    values: dict[str, Any] = {}
    for word in options:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"{flag} takes NAME=VALUE, got {word!r}")
        with reading(f"{flag} {name}", ConfigError):
            values[name.strip().replace("-", "_")] = plain_yaml(value)
    return values


def is_typed_only(name: str, value: Any, options: Mapping[str, Any], item: Any) -> bool:
    """Whether a recorded option is one that has to be typed: it reaches outside, and is not the default."""
    if not value or value in item.metadata.get("harmless", ()) or not has_to_be_typed(item, value):
        return False
    return not (name == "model" and _is_vendors_id(options))


def has_to_be_typed(item: Any, value: Any) -> bool:
    """Whether an option's mark is :data:`TYPED_ONLY`, or a function that says so of the value."""
    mark = item.metadata.get("typed only", False)
    return bool(mark(value) if callable(mark) else mark)


def _is_vendors_id(options: Mapping[str, Any]) -> bool:
    """Whether the model is a word that is sent to a vendor's own address, and no path or hub id that is loaded here."""
    words = [str(word) for word in (options.get("vlm"), *(options.get("agents") or []))]
    names = [word.split(",")[0].rpartition("=")[2] for word in words]  # LABEL=NAME,OPTION=VALUE
    known = [entries()[name].kind for name in names if name in entries()]
    return bool(known) and set(known) == {"api"} and not options.get("base_url")

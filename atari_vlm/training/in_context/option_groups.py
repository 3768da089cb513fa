"""The options of ``train`` that no other program has, in the groups that ``--help`` shows."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from atari_vlm.agents.in_context.examples import Strategy
from atari_vlm.agents.vlm_agent import AnswerMode
from atari_vlm.errors import ConfigError
from atari_vlm.runs.options import TYPED_ONLY, UNRECORDED, Options


@dataclass(frozen=True)
class PhaseOptions(Options):
    """Training and evaluation."""

    num_eval_episodes: int = 3
    """evaluation episodes at the end, memory frozen, on seeds that are never trained on"""
    eval_only: bool = False
    """no training episodes"""
    eval_interval: int = 10
    """evaluate 2 episodes after every so many training episodes; 0: never"""
    save_interval: int = 20
    """write results.json after every so many training episodes; 0: only at the end"""
    round_size: int = 4
    """episodes between two times of learning; training runs at most so many at once"""

    def __post_init__(self) -> None:
        if min(self.num_eval_episodes, self.eval_interval, self.save_interval) < 0:
            raise ConfigError(
                "num_eval_episodes, eval_interval and save_interval must be 0 or more"
            )
        if self.num_eval_episodes == 0 and self.eval_only:
            raise ConfigError(
                "without evaluation episodes there is nothing to evaluate: raise --num-eval-episodes"
            )
        super().__post_init__()


@dataclass(frozen=True)
class LearningOptions(Options):
    """Learning in context: examples from the best moments of earlier episodes."""

    use_icl: bool = False
    """learn in context"""
    icl_strategy: Strategy = "reward-centred"
    """which examples are shown"""
    icl_examples: int = 8
    """most examples in a prompt"""
    icl_images: int = 16
    """most pictures in them"""
    icl_tokens: int = 6000
    """about how many tokens they may cost"""
    icl_ablation: bool = False
    """at the end evaluate every strategy against none on the same seeds"""
    demonstrations: str | None = field(default=None, metadata=TYPED_ONLY)
    """id of a local Minari dataset to begin the library with"""

    def __post_init__(self) -> None:
        ignored = [
            item.name
            for item in fields(LearningOptions)
            if getattr(self, item.name) != item.default
        ]
        if ignored and not self.use_icl:
            raise ConfigError(
                f"--{ignored[0].replace('_', '-')} does nothing without --use-icl; give both or neither"
            )
        super().__post_init__()


@dataclass(frozen=True)
class LocalOptions(Options):
    """Models in this process."""

    load_in: Literal["4bit", "8bit"] | None = None
    """quantise the weights with bitsandbytes"""
    device: str | None = None
    """cpu, cuda, cuda:1 ...; without it a GPU if there is one"""
    trust_remote_code: bool = field(default=False, metadata=TYPED_ONLY)
    """run the Python code that comes with the weights (CogVLM2); needs --revision for a hub id"""
    revision: str | None = field(default=None, metadata=TYPED_ONLY)
    """the commit of the hub repository"""


@dataclass(frozen=True)
class AnswerFormOptions(Options):
    """The form of the answer, and what waiting for it costs."""

    answer: AnswerMode = "auto"
    """how the answer is had, see VLMAgentOptions"""
    real_time: bool = False
    """the game goes on while a reply is awaited"""


@dataclass(frozen=True)
class ShowOptions(Options):
    """Instead of playing."""

    show_recommendations: bool = field(default=False, metadata=UNRECORDED)
    """print the catalogue of models and end"""

"""What a model may learn in context, how its answers are had, and how it is loaded in this process."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from atari_vlm.agents.in_context.examples import Strategy
from atari_vlm.agents.vlm_agent import AnswerMode
from atari_vlm.errors import ConfigError
from atari_vlm.runs.options import TYPED_ONLY, Options
from atari_vlm.sharing.names import HubName, is_hub_name


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
    """id of a local Minari dataset, or hub:OWNER/NAME[@REVISION], to begin the library with"""

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
        if self.demonstrations is not None and is_hub_name(self.demonstrations):
            HubName.of(self.demonstrations.replace("{game}", "Pong"))  # a study has one for each
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

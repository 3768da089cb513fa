"""Sizes of REM's three networks, and the presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.errors import ConfigError, UnknownNameError


@dataclass(frozen=True)
class TokenizerConfig:
    """VQ-VAE. The frame's edge is divided by 2 at each stage; ``channels[i]`` is the width after ``i`` stages.

    ``norm`` says over what features are normalised: ``"frame"``, groups of channels over all places (the paper's), or
    ``"place"``, all channels of each place (not in the paper): then a token depends on what is near it alone, where otherwise
    any object that moves may change tokens all over the frame.
    """

    frame_px: int = 64
    channels: tuple[int, ...] = (32, 64, 128, 256)
    code_dim: int = 256
    num_codes: int = 512
    norm: str = "frame"

    def __post_init__(self) -> None:
        if self.norm not in ("frame", "place"):
            raise UnknownNameError("norm of the tokenizer", self.norm, ("frame", "place"))
        stages = len(self.channels) - 1
        if stages < 1 or self.frame_px % 2**stages or any(c % 8 for c in self.channels):
            raise ConfigError(f"frame_px must be divisible by 2**{stages} and every channel count by 8, got {self}")

    @property
    def grid(self) -> int:
        """Tokens along one edge."""
        return self.frame_px // 2 ** (len(self.channels) - 1)

    @property
    def num_tokens(self) -> int:
        """K, tokens per frame."""
        return self.grid**2


@dataclass(frozen=True)
class WorldModelConfig:
    """Retentive network with POP.

    ``decay_unit`` says what the range of decays counts: with ``"token"`` head ``h`` forgets by
    ``1 - exp(linspace(log 1/32, log 1/512))`` per token (REM's); with ``"block"`` the same kind of range is stretched over
    ``decay_blocks`` frames (per-block decay, as in Simulus). ``reward`` is ``"sign"`` (three classes) or ``"two-hot"``
    (regression over symlog-spaced bins). ``refinement_passes`` > 0 re-predicts the least certain tokens of a frame given the
    others, so that tokens are drawn jointly. ``place_embedding`` adds a learned vector per place to the observation tokens (not
    in the paper, where the rotation of retention alone tells places apart).
    """

    width: int = 256
    num_layers: int = 5
    num_heads: int = 4
    ffn_width: int = 1024
    dropout: float = 0.1
    decay_unit: str = "token"
    decay_blocks: tuple[float, float] = (4.0, 16.0)
    reward: str = "sign"
    reward_bins: int = 65
    refinement_passes: int = 0
    place_embedding: bool = False

    def __post_init__(self) -> None:
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ConfigError(
                f"width ({self.width}) must be a multiple of num_heads ({self.num_heads}) with even heads"
            )
        if self.decay_unit not in ("token", "block"):
            raise UnknownNameError("decay unit", self.decay_unit, ("token", "block"))
        if self.reward not in ("sign", "two-hot"):
            raise UnknownNameError("reward head", self.reward, ("sign", "two-hot"))


@dataclass(frozen=True)
class ActorCriticConfig:
    """``view`` ``"latent"`` reads the code map (REM), ``"pixel"`` the decoded frame. ``value`` as the reward head's kinds:
    ``"scalar"`` or ``"two-hot"``; ``scale_returns`` divides advantages by the range of returns (DreamerV3).
    """

    view: str = "latent"
    conv_channels: tuple[int, int] = (128, 64)
    width: int = 512
    value: str = "scalar"
    value_bins: int = 65
    scale_returns: bool = False

    def __post_init__(self) -> None:
        if self.view not in ("latent", "pixel"):
            raise UnknownNameError("actor-critic view", self.view, ("latent", "pixel"))
        if self.value not in ("scalar", "two-hot"):
            raise UnknownNameError("value head", self.value, ("scalar", "two-hot"))


@dataclass(frozen=True)
class RemConfig:
    """The whole agent's sizes; ``num_actions`` comes from the environment."""

    num_actions: int = 4
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)

    @classmethod
    def from_dict(cls, data: Any) -> RemConfig:
        """The inverse of ``dataclasses.asdict``, lists allowed for tuples; ``ConfigError`` for anything else."""
        parts = {"tokenizer": TokenizerConfig, "world_model": WorldModelConfig, "actor_critic": ActorCriticConfig}
        if (
            not isinstance(data, Mapping)
            or set(data) != {"num_actions", *parts}
            or type(data["num_actions"]) is not int
        ):
            raise ConfigError(f"REM's sizes are num_actions, {', '.join(parts)}; got {data!r}")
        return cls(data["num_actions"], **{name: _part(part, data[name]) for name, part in parts.items()})


def _part(part: type[Any], data: Any) -> Any:
    defaults = dataclasses.asdict(part())
    if not isinstance(data, Mapping) or set(data) - set(defaults):
        raise ConfigError(f"{part.__name__} has {', '.join(defaults)}; got {data!r}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    for name, value in values.items():
        if type(value) is not type(defaults[name]):
            raise ConfigError(f"{part.__name__}.{name} is like {defaults[name]!r}, got {value!r}")
    return part(**values)


def preset(name: str, num_actions: int) -> RemConfig:
    """``rem`` (the paper's), ``rem-plus`` (regression heads, return scaling, per-block decay, refinement), ``tiny`` (CPU)."""
    presets = {
        "rem": RemConfig(),
        "rem-plus": RemConfig(
            world_model=WorldModelConfig(decay_unit="block", reward="two-hot", refinement_passes=2),
            actor_critic=ActorCriticConfig(value="two-hot", scale_returns=True),
        ),
        "tiny": RemConfig(
            tokenizer=TokenizerConfig(frame_px=64, channels=(8, 16, 32, 48), code_dim=32, num_codes=32),
            world_model=WorldModelConfig(
                width=64, num_layers=2, num_heads=2, ffn_width=128, dropout=0.0, decay_unit="block",
                decay_blocks=(1.0, 4.0), place_embedding=True,
            ),
            actor_critic=ActorCriticConfig(conv_channels=(32, 16), width=64, scale_returns=True),
        ),
    }  # fmt: skip
    if name not in presets:
        raise UnknownNameError("REM preset", name, presets)
    return dataclasses.replace(presets[name], num_actions=num_actions)

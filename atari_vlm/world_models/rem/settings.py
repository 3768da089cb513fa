"""REM's sizes and how it is trained, and the presets: the paper's (rem.md), a stronger one, a CPU one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.settings import with_changes
from atari_vlm.world_models.inputs import described
from atari_vlm.world_models.learned.learner import GameFacts
from atari_vlm.world_models.learned.schedule import (
    ActorCriticTraining,
    Play,
    TrainingSettings,
    Updates,
)


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
            raise ConfigError(
                f"frame_px must be divisible by 2**{stages} and every channel count by 8, got {self}"
            )

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
        """The inverse of ``dataclasses.asdict``, lists allowed for tuples; what an older checkpoint does
        not say has its default. ``ConfigError`` for anything else.
        """
        if not isinstance(data, Mapping) or "num_actions" not in data:
            raise ConfigError(f"REM's sizes are {', '.join(vars(cls()))}; got {data!r}")
        sizes: RemConfig = with_changes(cls(), dict(data), "REM's sizes")
        check_positive(num_actions=sizes.num_actions)
        return sizes


@dataclass(frozen=True)
class TokenizerTraining:
    """``perceptual``: ``"lpips"`` (needs ``lpips_weights``, a local safetensors file), ``"multi-scale"`` or ``"none"``.

    ``restart_unused`` > 0 replaces codes that went unused for so many updates by vectors of the present batch (not in the
    paper; without it small codebooks can collapse); with ``codes_from_batch`` all that the first update leaves unused begin so.
    ``warm_up`` puts that off: so many first updates train encoder and decoder as an autoencoder without codes.
    ``moving`` > 0 weighs what is not the background in the multi-scale loss: objects of a pixel or two, like Pong's ball, are
    lost without it.
    """

    updates: Updates = field(default_factory=lambda: Updates(first_epoch=6))
    perceptual: str = "multi-scale"
    lpips_weights: str | None = None
    restart_unused: int = 0
    codes_from_batch: bool = False
    warm_up: int = 0
    moving: float = 0.0

    def __post_init__(self) -> None:
        if self.perceptual not in ("lpips", "multi-scale", "none"):
            raise UnknownNameError(
                "perceptual loss", self.perceptual, ("lpips", "multi-scale", "none")
            )
        if (self.perceptual == "lpips") != (self.lpips_weights is not None):
            raise ConfigError("perceptual='lpips' and lpips_weights=FILE go together")
        if self.moving < 0 or (self.moving and self.perceptual != "multi-scale"):
            raise ConfigError(
                f"moving is >= 0 and belongs to perceptual='multi-scale', got {self.moving!r}"
            )
        if self.codes_from_batch and not self.restart_unused:
            raise ConfigError("codes_from_batch needs restart_unused > 0")
        if self.warm_up < 0 or (self.warm_up and not self.codes_from_batch):
            raise ConfigError(f"warm_up is >= 0 and needs codes_from_batch, got {self.warm_up!r}")


@dataclass(frozen=True)
class WorldModelTraining:
    """Segments of ``length`` blocks, of which the first ``context`` are never predicted; ``prioritised`` share of rows drawn
    by their last loss.
    """

    updates: Updates = field(
        default_factory=lambda: Updates(
            learning_rate=2e-4,
            batch=64,
            max_norm=100.0,
            weight_decay=0.05,
            first_epoch=26,
            micro_batch=8,
        )
    )
    length: int = 10
    context: int = 2
    prioritised: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.context < self.length or not 0 <= self.prioritised <= 1:
            raise ConfigError(
                f"1 <= context < length and 0 <= prioritised <= 1 are needed, got {self}"
            )


@dataclass(frozen=True)
class RemSettings(TrainingSettings):
    """Everything a run's results depend on, but for the game and the seed."""

    networks: RemConfig = field(default_factory=RemConfig)
    tokenizer: TokenizerTraining = field(default_factory=TokenizerTraining)
    world_model: WorldModelTraining = field(default_factory=WorldModelTraining)
    actor_critic: ActorCriticTraining = field(default_factory=ActorCriticTraining)


def preset(name: str, facts: GameFacts) -> RemSettings:
    """Settings for a game.

    ``rem`` is the paper's; ``rem-plus`` adds regression heads, return scaling, decay per block, joint
    tokens and prioritised replay; ``tiny`` learns a toy game on one CPU core in minutes.
    """
    presets = {"rem": RemSettings, "rem-plus": _rem_plus, "tiny": _tiny}
    if name not in presets:
        raise UnknownNameError("REM preset", name, presets)
    made, num_actions = presets[name](), int(actions_of(facts).n)
    return dataclasses.replace(
        made, networks=dataclasses.replace(made.networks, num_actions=num_actions)
    )


def actions_of(facts: GameFacts) -> gymnasium.spaces.Discrete:
    """The actions of a game that REM can learn; ``ConfigError`` for any other."""
    image, space = facts.inputs.get("image"), facts.action_space
    sees = not facts.inputs or (image is not None and image.shape[-1] == 3)
    if sees and isinstance(space, gymnasium.spaces.Discrete):
        return space
    abilities = f"shows {described(facts.inputs)} and acts" if facts.inputs else "acts"
    raise ConfigError(
        "REM learns from one RGB picture uint8 (H, W, 3), the observation itself or its key image, and from discrete "
        f"actions; {facts.game} {abilities} with {space}"
    )


def _rem_plus() -> RemSettings:
    networks = RemConfig(
        world_model=WorldModelConfig(decay_unit="block", reward="two-hot", refinement_passes=2),
        actor_critic=ActorCriticConfig(value="two-hot", scale_returns=True),
    )
    return RemSettings(
        networks,
        world_model=WorldModelTraining(prioritised=0.3),
        actor_critic=ActorCriticTraining(value_weight=0.1),
    )


def _tiny() -> RemSettings:
    networks = RemConfig(
        tokenizer=TokenizerConfig(
            frame_px=64, channels=(8, 16, 32, 48), code_dim=32, num_codes=32
        ),
        world_model=WorldModelConfig(
            width=64, num_layers=2, num_heads=2, ffn_width=128, dropout=0.0, decay_unit="block",
            decay_blocks=(1.0, 4.0), place_embedding=True,
        ),
        actor_critic=ActorCriticConfig(conv_channels=(32, 16), width=64, scale_returns=True),
    )  # fmt: skip
    quick: dict[str, Any] = {"max_norm": 10.0, "micro_batch": 64}
    return RemSettings(
        networks,
        tokenizer=TokenizerTraining(
            Updates(**quick, learning_rate=1e-3, batch=16, steps=45, last_epoch=6),
            restart_unused=20, codes_from_batch=True, moving=0.5,
        ),
        world_model=WorldModelTraining(
            Updates(**quick, learning_rate=2e-3, batch=8, steps=70, first_epoch=6), length=7
        ),
        actor_critic=ActorCriticTraining(
            updates=Updates(learning_rate=1e-3, batch=64, max_norm=3.0, steps=40, first_epoch=14),
            horizon=8, burn_in=5, discount=0.97, entropy=0.02, normalise=True,
        ),
        play=Play(
            steps=150, epsilon=0.05, max_noops=1, eval_episodes=50, final_episodes=200, eval_every=4
        ),
        epochs=40, capacity=10_000, checkpoint_every=2,
    )  # fmt: skip

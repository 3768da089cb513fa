"""How REM is trained: collection, the three networks' updates, evaluation; and the presets (rem.md's schedule and a CPU one)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.world_models.learned.schedule import ActorCriticTraining, Play, Updates
from atari_vlm.world_models.rem.config import RemConfig
from atari_vlm.world_models.rem.config import preset as network_preset


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
            raise UnknownNameError("perceptual loss", self.perceptual, ("lpips", "multi-scale", "none"))
        if (self.perceptual == "lpips") != (self.lpips_weights is not None):
            raise ConfigError("perceptual='lpips' and lpips_weights=FILE go together")
        if self.moving < 0 or (self.moving and self.perceptual != "multi-scale"):
            raise ConfigError(f"moving is >= 0 and belongs to perceptual='multi-scale', got {self.moving!r}")
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
            learning_rate=2e-4, batch=64, max_norm=100.0, weight_decay=0.05, first_epoch=26, micro_batch=8
        )
    )
    length: int = 10
    context: int = 2
    prioritised: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.context < self.length or not 0 <= self.prioritised <= 1:
            raise ConfigError(f"1 <= context < length and 0 <= prioritised <= 1 are needed, got {self}")


@dataclass(frozen=True)
class RemSettings:
    """Everything a run's results depend on, but for the game and the seed."""

    networks: RemConfig = field(default_factory=RemConfig)
    tokenizer: TokenizerTraining = field(default_factory=TokenizerTraining)
    world_model: WorldModelTraining = field(default_factory=WorldModelTraining)
    actor_critic: ActorCriticTraining = field(default_factory=ActorCriticTraining)
    play: Play = field(default_factory=Play)
    epochs: int = 600
    capacity: int = 100_000
    checkpoint_every: int = 5

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs, capacity=self.capacity, checkpoint_every=self.checkpoint_every)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


def preset(name: str, num_actions: int) -> RemSettings:
    """``rem``: rem.md section 2. ``rem-plus``: with regression heads, prioritised replay and joint tokens. ``tiny``: for a
    toy game on one CPU core in minutes.
    """
    networks = network_preset(name, num_actions)
    if name == "rem-plus":
        return RemSettings(
            networks,
            world_model=WorldModelTraining(prioritised=0.3),
            actor_critic=ActorCriticTraining(value_weight=0.1),
        )
    if name == "tiny":
        return _tiny(networks)
    return RemSettings(networks)


def _tiny(networks: RemConfig) -> RemSettings:
    quick = {"max_norm": 10.0, "micro_batch": 64}
    return RemSettings(
        networks,
        tokenizer=TokenizerTraining(
            Updates(**quick, learning_rate=1e-3, batch=16, steps=45, last_epoch=6),  # type: ignore[arg-type]
            restart_unused=20, codes_from_batch=True, moving=0.5,
        ),
        world_model=WorldModelTraining(
            Updates(**quick, learning_rate=2e-3, batch=8, steps=70, first_epoch=6),  # type: ignore[arg-type]
            length=7,
        ),
        actor_critic=ActorCriticTraining(
            Updates(learning_rate=1e-3, batch=64, max_norm=3.0, steps=40, first_epoch=14),
            horizon=8, burn_in=5, discount=0.97, entropy=0.02, normalise=True,
        ),
        play=Play(steps=150, epsilon=0.05, max_noops=1, eval_episodes=50, final_episodes=200, eval_every=4),
        epochs=40, capacity=10_000, checkpoint_every=2,
    )  # fmt: skip

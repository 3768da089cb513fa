"""How REM is trained: collection, the three networks' updates, evaluation; and the presets (rem.md's schedule and a CPU one)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.world_models.rem.config import RemConfig
from atari_vlm.world_models.rem.config import preset as network_preset


@dataclass(frozen=True)
class Updates:
    """AdamW for one network: ``steps`` updates per epoch from epoch ``first_epoch`` (counted from 1) to ``last_epoch``.

    ``micro_batch`` bounds the rows that are in memory at once; gradients are summed over the parts.
    """

    learning_rate: float = 1e-4
    batch: int = 128
    max_norm: float = 10.0
    weight_decay: float = 0.01
    steps: int = 200
    first_epoch: int = 1
    last_epoch: int = 1_000_000
    micro_batch: int = 128

    def __post_init__(self) -> None:
        check_positive(learning_rate=self.learning_rate, batch=self.batch, max_norm=self.max_norm, steps=self.steps)
        check_positive(first_epoch=self.first_epoch, micro_batch=self.micro_batch)

    def active(self, epoch: int) -> bool:
        """Whether the network learns in this epoch."""
        return self.first_epoch <= epoch <= self.last_epoch


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
class ActorCriticTraining:
    """Imagination: ``burn_in`` real steps, then ``horizon`` blocks of which two are real, so ``horizon - 1`` decisions, the
    last of which only bootstraps. ``normalise`` subtracts the mean of the advantages and divides them by their spread (not in
    the paper). ``imagine_temperature`` is that of the world model's frames and ends; 0 takes the likeliest (the paper's is 1).
    ``value_weight`` multiplies the value's loss: policy and value share a memory, and two-hot values at full weight keep the
    policy from learning.
    """

    updates: Updates = field(default_factory=lambda: Updates(max_norm=3.0, steps=100, first_epoch=51))
    horizon: int = 10
    burn_in: int = 20
    discount: float = 0.995
    lam: float = 0.95
    entropy: float = 0.001
    normalise: bool = False
    imagine_temperature: float = 1.0
    value_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.imagine_temperature < 0:
            raise ConfigError(f"imagine_temperature must not be negative, got {self.imagine_temperature!r}")
        if self.value_weight <= 0:
            raise ConfigError(f"value_weight is positive, got {self.value_weight!r}")
        if self.horizon < 3 or self.burn_in < 1 or not 0 < self.discount <= 1 or not 0 <= self.lam <= 1:
            raise ConfigError(
                f"horizon >= 3, burn_in >= 1, discount in (0, 1] and lam in [0, 1] are needed, got {self}"
            )


@dataclass(frozen=True)
class Play:
    """Real play. In training the loss of a life ends an episode for the learner, and 1 to ``max_noops`` no-ops begin a game of
    Atari. ``max_steps`` truncates: 5,000 steps in training, 27,000 in evaluation (20,000 and 108,000 emulator frames).
    """

    steps: int = 200
    last_epoch: int = 500
    epsilon: float = 0.01
    temperature: float = 1.0
    max_noops: int = 30
    max_steps: int = 5_000
    life_loss_ends: bool = True
    eval_every: int = 10
    eval_episodes: int = 16
    final_episodes: int = 100
    eval_temperature: float = 0.5
    eval_max_steps: int = 27_000

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, max_steps=self.max_steps, eval_every=self.eval_every)
        check_positive(eval_episodes=self.eval_episodes, final_episodes=self.final_episodes)
        if not 0 <= self.epsilon <= 1 or min(self.temperature, self.eval_temperature) < 0:
            raise ConfigError(f"epsilon in [0, 1] and temperatures >= 0 are needed, got {self}")


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


def with_changes(settings: Any, changes: dict[str, Any], where: str = "settings") -> Any:
    """``settings`` with some fields replaced by those of a nested mapping (as read from YAML); unknown names are refused."""
    fields = {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
    chosen = {}
    for name, value in changes.items():
        if name not in fields:
            raise UnknownNameError(f"name in {where}", name, fields)
        old = fields[name]
        if dataclasses.is_dataclass(old):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}.{name} is a group of options, got {value!r}")
            chosen[name] = with_changes(old, value, f"{where}.{name}")
        else:
            chosen[name] = _like(old, value, f"{where}.{name}")
    return dataclasses.replace(settings, **chosen)


def _like(old: Any, value: Any, where: str) -> Any:
    """``value`` as the type of ``old``."""
    if isinstance(old, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(old, float) and type(value) is int:
        return float(value)
    if old is not None and type(value) is not type(old):
        raise ConfigError(f"{where} is of type {type(old).__name__}, got {value!r}")
    return value

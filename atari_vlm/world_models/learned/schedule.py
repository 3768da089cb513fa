"""When and how much a learner plays and learns."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from atari_vlm.errors import ConfigError, check_positive, check_temperature


class Schedule(Protocol):
    """When a stage learns."""

    def due(self, epoch: int, steps: tuple[int, int]) -> int:
        """How many updates an epoch (from 1) has that brought the steps ever played from ``steps[0]`` to ``steps[1]``."""
        ...


@dataclass(frozen=True)
class ReplayRatio:
    """``ratio`` updates for every step played beyond the first ``prefill``; fractions add up over epochs.

    An epoch in which nothing is played has ``idle`` of them: a data set, or dreams alone.
    """

    ratio: float
    prefill: int = 0
    idle: int = 0

    def __post_init__(self) -> None:
        check_positive(ratio=self.ratio)
        if self.prefill < 0 or self.idle < 0:
            raise ConfigError(f"prefill and idle must not be negative, got {self}")

    def due(self, epoch: int, steps: tuple[int, int]) -> int:
        """See :class:`Schedule`; a function of the steps alone, so that a run may be stopped anywhere."""
        if steps[0] == steps[1]:
            return self.idle
        before, after = (math.floor(max(0, count - self.prefill) * self.ratio) for count in steps)
        return after - before


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
        check_positive(
            learning_rate=self.learning_rate,
            batch=self.batch,
            max_norm=self.max_norm,
            steps=self.steps,
        )
        check_positive(first_epoch=self.first_epoch, micro_batch=self.micro_batch)

    def active(self, epoch: int) -> bool:
        """Whether the network learns in this epoch."""
        return self.first_epoch <= epoch <= self.last_epoch

    def due(self, epoch: int, steps: tuple[int, int]) -> int:
        """See :class:`Schedule`; the steps played do not matter."""
        return self.steps if self.active(epoch) else 0


@dataclass(frozen=True, kw_only=True)
class PolicyGradient:
    """The constants of the actor-critic's loss. ``normalise`` subtracts the mean of the advantages and
    divides them by their spread (not in the papers). ``value_weight`` multiplies the value's loss:
    policy and value share a memory, and two-hot values at full weight keep the policy from learning.
    """

    discount: float = 0.995
    lam: float = 0.95
    entropy: float = 0.001
    normalise: bool = False
    value_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.value_weight <= 0:
            raise ConfigError(f"value_weight is positive, got {self.value_weight!r}")
        if not 0 < self.discount <= 1 or not 0 <= self.lam <= 1:
            raise ConfigError(f"discount in (0, 1] and lam in [0, 1] are needed, got {self}")


@dataclass(frozen=True)
class ActorCriticTraining(PolicyGradient):
    """Imagination: ``burn_in`` real steps, then ``horizon`` blocks of which two are real, so
    ``horizon - 1`` decisions, the last of which only bootstraps. ``imagine_temperature`` is that of
    the world model's draws; 0 takes the likeliest.
    """

    updates: Updates = field(
        default_factory=lambda: Updates(max_norm=3.0, steps=100, first_epoch=51)
    )
    horizon: int = 10
    burn_in: int = 20
    imagine_temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(imagine_temperature=self.imagine_temperature)
        if self.horizon < 3 or self.burn_in < 1:
            raise ConfigError(f"horizon >= 3 and burn_in >= 1 are needed, got {self}")


@dataclass(frozen=True)
class Play:
    """Real play. In training the loss of a life ends an episode for the learner, and 1 to ``max_noops`` no-ops begin a game of
    Atari. ``max_steps`` truncates: 5,000 steps in training, 27,000 in evaluation (20,000 and 108,000 emulator frames).
    ``steps`` an epoch are collected, an equal share in each of ``envs`` games side by side.
    """

    steps: int = 200
    envs: int = 1
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
        check_positive(
            envs=self.envs, eval_episodes=self.eval_episodes, final_episodes=self.final_episodes
        )
        if self.steps % self.envs:
            raise ConfigError(
                f"steps is a multiple of envs, got {self.steps} steps in {self.envs} games"
            )
        check_temperature(temperature=self.temperature, eval_temperature=self.eval_temperature)
        if not 0 <= self.epsilon <= 1:
            raise ConfigError(f"epsilon is from 0 to 1, got {self.epsilon!r}")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the trainer asks of any family's settings: everything a run's results depend on, but for
    the game and the seed. A family's settings are a subclass.
    """

    play: Play = field(default_factory=Play)
    epochs: int = 600
    capacity: int = 100_000
    checkpoint_every: int = 5

    def __post_init__(self) -> None:
        check_positive(
            epochs=self.epochs, capacity=self.capacity, checkpoint_every=self.checkpoint_every
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

"""How a Dreamer is trained, and the presets: the official sizes with the official constants, and one for a CPU."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.games import game_names
from atari_vlm.world_models.dreamer.actions import ActionCode
from atari_vlm.world_models.dreamer.config import PRESETS, DreamerConfig, KeysConfig
from atari_vlm.world_models.dreamer.config import preset as sizes
from atari_vlm.world_models.dreamer.keys import keys_of
from atari_vlm.world_models.learned.learner import GameFacts
from atari_vlm.world_models.learned.schedule import Play, TrainingSettings

OPTIMIZERS = ("laprop", "adam")
_FIRST_VERSION = {
    "paper-v1": "s",
    **{f"paper-v1-{name}": name for name in ("xs", "s", "m", "l", "xl")},
}


@dataclass(frozen=True)
class Learning:
    """One update: ``batch`` sequences of ``length`` observations, ``ratio`` updates for every step played beyond ``prefill``.

    With ``context`` 1 a sequence begins from the latent that was kept of the step before it when that was last read; with 0
    from nothing. ``optimizer`` ``"laprop"`` has one rate for everything, rising over ``warm_up`` updates and, where ``decay`` is
    given, falling to a tenth at that update; ``"adam"`` is that of 2023: three optimizers, of which the player's two have 0.8
    times the world model's rate. The default is the official program's, whose Atari 100k setting is a ratio of 0.25.
    """

    batch: int = 16
    length: int = 64
    context: int = 1
    ratio: float = 0.25
    prefill: int = 1100
    optimizer: str = "laprop"
    learning_rate: float = 4e-5
    warm_up: int = 1000
    decay: int = 0

    def __post_init__(self) -> None:
        check_positive(batch=self.batch, length=self.length, ratio=self.ratio)
        check_positive(learning_rate=self.learning_rate)
        if self.optimizer not in OPTIMIZERS:
            raise UnknownNameError("optimizer", self.optimizer, OPTIMIZERS)
        if self.decay and (self.optimizer != "laprop" or self.decay <= self.warm_up):
            raise ConfigError(
                f"decay is 0, or with laprop beyond warm_up ({self.warm_up}), got {self.decay!r}"
            )
        if self.context not in (0, 1) or self.warm_up < 0 or self.prefill < 0:
            raise ConfigError(
                f"context 0 or 1, warm_up >= 0 and prefill >= 0 are needed, got {self}"
            )

    @property
    def rows(self) -> int:
        """Rows of the replay that one sequence needs: the first one says what led to the second."""
        return self.length + 1


@dataclass(frozen=True)
class LossWeights:
    """What each loss counts; ``free_nats`` is below what a divergence moves nothing."""

    reconstruction: float = 1.0
    reward: float = 1.0
    goes_on: float = 1.0
    dynamics: float = 1.0
    representation: float = 0.1
    policy: float = 1.0
    value: float = 1.0
    replay_value: float = 0.3
    free_nats: float = 1.0


@dataclass(frozen=True)
class Behaviour:
    """Imagination of ``steps`` steps from the last ``imag_last`` observations of every sequence (0: from all), and what the
    player learns in it. The discount is 1 - 1 / ``networks.horizon``, which the continue head learns.
    """

    steps: int = 15
    imag_last: int = 0
    lam: float = 0.95
    entropy: float = 3e-4
    slow_rate: float = 0.02
    slow_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if self.imag_last < 0 or not 0 <= self.lam <= 1 or not 0 < self.slow_rate <= 1:
            raise ConfigError(
                f"imag_last >= 0, lam from 0 to 1 and slow_rate above 0 up to 1 are needed, got {self}"
            )


@dataclass(frozen=True, kw_only=True)
class DreamerSettings(TrainingSettings):
    """Everything a run's results depend on, but for the game and the seed."""

    networks: DreamerConfig = field(default_factory=DreamerConfig)
    learning: Learning = field(default_factory=Learning)
    losses: LossWeights = field(default_factory=LossWeights)
    behaviour: Behaviour = field(default_factory=Behaviour)

    def __post_init__(self) -> None:
        super().__post_init__()
        rows, share = self.learning.rows, self.capacity // self.play.envs
        if rows > share:
            raise ConfigError(
                f"a sequence takes {rows} steps of the replay, which holds {share} of each game: "
                "lower learning.length or raise capacity"
            )
        if self.starts == 1 and self.losses.replay_value:
            raise ConfigError(
                "replayed values are learned over steps that follow one another: learning.length and "
                "behaviour.imag_last are 2 or more (0: all), or losses.replay_value is 0"
            )
        if self.behaviour.imag_last > self.learning.length:
            raise ConfigError(
                f"imagination begins at behaviour.imag_last, {self.behaviour.imag_last}, of "
                f"learning.length, {self.learning.length}, observations: at most at all of them"
            )

    @property
    def starts(self) -> int:
        """Observations of a sequence that imagination begins at."""
        return self.behaviour.imag_last or self.learning.length


def preset(name: str, facts: GameFacts) -> DreamerSettings:
    """Settings for a game.

    ``1m`` to ``400m`` are the official sizes with the official constants (Hafner et al. 2025); ``xs`` to ``xl`` those of
    2023, ``paper-v1`` and ``paper-v1-xs`` ... too.
    ``tiny`` learns small games on one CPU core: fewer and shorter sequences, few starts of imagination, a higher rate.
    The texts of Atari games, which are facts about the pictures, are left out unless ``networks.text_keys`` asks for them.
    Raises ``ConfigError`` for a game that cannot be learned.
    """
    size = _FIRST_VERSION.get(name, name)
    if size not in PRESETS:
        raise UnknownNameError("Dreamer preset", name, (*PRESETS, *_FIRST_VERSION))
    networks = sizes(size)
    if facts.game in game_names():  # whose texts say no more than the pictures
        networks = dataclasses.replace(networks, text_keys=KeysConfig((), ()))
    if facts.inputs:
        keys_of(networks, facts.inputs, facts.game, facts.texts)
    ActionCode(facts.action_space, networks)
    if name == "tiny":
        return _tiny(networks)
    play = Play(steps=1000, epsilon=0.0, life_loss_ends=False, eval_temperature=1.0, eval_every=10)
    made = DreamerSettings(networks=networks, play=play, epochs=110, capacity=1_000_000)
    return _of_2023(made) if networks.generation == "2023" else made


def _of_2023(made: DreamerSettings) -> DreamerSettings:
    learning = dataclasses.replace(made.learning, optimizer="adam", learning_rate=1e-4, context=0)
    losses = dataclasses.replace(made.losses, dynamics=0.5, replay_value=0.0)
    return dataclasses.replace(made, learning=learning, losses=losses)


def _tiny(networks: DreamerConfig) -> DreamerSettings:
    return DreamerSettings(
        networks=networks,
        learning=Learning(
            batch=16, length=16, ratio=0.4, prefill=500, learning_rate=4e-4, warm_up=100
        ),
        behaviour=Behaviour(imag_last=4),
        play=Play(
            steps=100, epsilon=0.0, max_noops=1, life_loss_ends=False, eval_every=5, eval_temperature=0.5
        ),
        epochs=60, capacity=50_000, checkpoint_every=5,
    )  # fmt: skip

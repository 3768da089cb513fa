"""The emulator as its own perfect world model: ALE's clone and restore behind the ``WorldModel`` protocol.

The upper bound for planners, and a check of theirs. Exact only without sticky actions: the repeated action is not part of
ALE's snapshot, so an environment with them is refused.

Three games are refused (ale-py 0.12.1). Qbert and Tetris read the emulator's random state, and what they play after a restore
depends on what the emulator did before, also when the snapshot carries that state. TicTacToe3D draws no whole frames while it
thinks, and a snapshot in between is not exact. A slow test plays all other games.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import ale_py
import gymnasium
import numpy as np

from atari_vlm.env.emulator import Emulator, EmulatorConfig
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.games import game
from atari_vlm.picture import brighter_of
from atari_vlm.trees import objects
from atari_vlm.world_models.base import ModelStep

INEXACT = ("Qbert", "Tetris", "TicTacToe3D")


@dataclass(frozen=True)
class EmulatorState:
    """``snapshot`` object ``(B,)`` of ALE states; ``frames`` object ``(B,)`` of uint8 ``(1 or 2, H, W)``, the palette
    indices of the emulator frames shown, shared between states and never written to; ``lives`` int64 ``(B,)``; ``over``
    bool ``(B,)``.
    """

    snapshot: np.ndarray
    frames: np.ndarray
    lives: np.ndarray
    over: np.ndarray


class EmulatorWorldModel:
    """A perfect model of the Atari environment ``env``, in an emulator of its own: ``env`` is only read, never stepped.

    ``init`` begins at the environment's *present* state, whatever observations it is given (pictures do not determine an
    emulator's state). Observations are uint8 ``(H, W, 3)`` at the screen's own size (the colour maximum of the last two
    emulator frames). ``end_on_life_loss`` makes a lost life terminal. A row that is over stays over with reward 0.

    Raises ``ConfigError`` for an environment with sticky actions or without an emulator, and for the games of :data:`INEXACT`.
    """

    reward_transform = "none"
    context_length = 0  # no picture is read

    def __init__(self, env: gymnasium.Env[Any, Any], *, end_on_life_loss: bool = False):
        base: Any = env.unwrapped
        ale = getattr(base, "ale", None)
        if not isinstance(ale, ale_py.ALEInterface):
            raise ConfigError(
                f"{type(base).__name__} has no ALE emulator; EmulatorWorldModel needs an Atari environment"
            )
        sticky = ale.getFloat("repeat_action_probability")
        if sticky != 0:
            raise ConfigError(
                f"repeat_action_probability is {sticky:g}; snapshots are exact only at 0: "
                "gym.make(..., repeat_action_probability=0.0)"
            )
        config = _config_of(base)
        if game(config.game_name).name in INEXACT:
            raise ConfigError(
                f"ALE's snapshots of {', '.join(INEXACT)} are not exact, so the emulator is no model of them"
            )
        self._real = ale
        self._end_on_life_loss = end_on_life_loss
        self._twin = Emulator(config)
        self._twin.reset(seed=0)
        self._at: Any = None  # the snapshot at which the second emulator stands
        self._shown = (self._twin.frames_shown, *self._twin.screen_shape)
        self.frame_skip = self._twin.config.frame_skip
        self.action_names = self._twin.action_names
        self.action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(len(self.action_names))
        if self.action_space != env.action_space:
            raise MismatchError(
                f"the emulator has {self.action_space}, the environment {env.action_space}"
            )
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(
            0, 255, (*self._twin.screen_shape, 3), np.uint8
        )

    def init(
        self, observations: np.ndarray, actions: np.ndarray, *, rng: np.random.Generator
    ) -> EmulatorState:
        """The present state of the environment, once per row of ``observations``."""
        n = len(observations)
        screen = self._real.getScreen()[np.newaxis]
        return EmulatorState(
            snapshot=objects([self._real.cloneState()] * n),
            frames=objects([screen] * n),
            lives=np.full(n, self._real.lives()),
            over=np.full(n, self._real.game_over(with_truncation=False)),
        )

    def step(
        self, state: EmulatorState, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[EmulatorState]:
        """Play ``frame_skip`` emulator frames of every row."""
        played = self.rollout(state, np.asarray(action)[:, np.newaxis], rng=rng)
        return ModelStep(played.state, played.reward[:, 0], played.terminated[:, 0])

    def rollout(
        self, state: EmulatorState, plans: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[EmulatorState]:
        """Play plans int64 ``(B, H)``, each until its row is over: one restore and one snapshot a row, not a step."""
        snapshots, frames = list(state.snapshot), list(state.frames)
        lives, over = state.lives.tolist(), state.over.tolist()
        rewards = np.zeros(plans.shape, np.float32)
        ended = np.ones(plans.shape, np.bool_)
        for i, plan in enumerate(plans.tolist()):
            if over[i] or not plan:
                continue
            self._stand_at(snapshots[i])
            self._at = None  # until the end of the plan, also should an action be refused
            frames[i] = np.empty(self._shown, np.uint8)
            for t, action in enumerate(plan):
                rewards[i, t] = self._twin.play(action, frames[i])
                lives_before, lives[i] = lives[i], self._twin.lives
                over[i] = self._twin.terminated or (
                    self._end_on_life_loss and lives[i] < lives_before
                )
                if over[i]:
                    break
                ended[i, t] = False
            self._at = snapshots[i] = self._twin.ale.cloneState()
        following = EmulatorState(
            snapshot=objects(snapshots),
            frames=objects(frames),
            lives=np.array(lives, np.int64),
            over=np.array(over, np.bool_),
        )
        return ModelStep(following, rewards, ended)

    def decode(self, state: EmulatorState) -> np.ndarray:
        """RGB pictures uint8 ``(B, H, W, 3)``: the brighter of the last two emulator frames."""
        pictures: np.ndarray = self._twin.palette.rgb[
            np.stack([self._plane(frames) for frames in state.frames])
        ]
        return pictures

    def digest(self, state: EmulatorState) -> list[str]:
        """SHA-256 of RAM and screen per row, to verify that model and environment agree."""
        digests = []
        for snapshot, frames in zip(state.snapshot, state.frames, strict=True):
            self._stand_at(snapshot)
            plane = self._plane(frames)
            digests.append(
                hashlib.sha256(self._twin.ale.getRAM().tobytes() + plane.tobytes()).hexdigest()
            )
        return digests

    def memory(self, state: EmulatorState) -> np.ndarray:
        """The console's memory of every row, uint8 ``(B, 128)``."""
        rows = []
        for snapshot in state.snapshot:
            self._stand_at(snapshot)
            rows.append(self._twin.ale.getRAM().copy())
        return np.stack(rows)

    def _plane(self, frames: np.ndarray) -> np.ndarray:
        return brighter_of(frames[0], frames[-1], self._twin.palette.rank)

    def _stand_at(self, snapshot: Any) -> None:
        """Restore a snapshot unless the second emulator stands there already."""
        if self._at is not snapshot:
            self._twin.ale.restoreState(snapshot)
            self._at = snapshot


def _config_of(base: Any) -> EmulatorConfig:
    """Game, frame skip and action set of an ``AtariVLMEnvironment`` or of ale-py's own environment."""
    name = base.game_name if hasattr(base, "game_name") else base.spec.id
    frame_skip = base.frame_skip if hasattr(base, "frame_skip") else base._frameskip
    full = base.action_space.n == len(base.ale.getLegalActionSet())
    return EmulatorConfig(name, frame_skip, repeat_action_probability=0.0, full_action_space=full)

"""The emulator as its own perfect world model: ALE's clone and restore behind the ``WorldModel`` protocol.

The upper bound for planners, and a check of theirs. Exact only without sticky actions: the repeated action is not part of
ALE's snapshot, so an environment with them is refused. Snapshots are taken with the emulator's random state; without it
Qbert and Tetris diverge in another emulator (ale-py 0.12.1).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import ale_py
import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError, MismatchError, check_positive
from atari_vlm.picture import brighter_of
from atari_vlm.world_models.base import ModelStep


@dataclass(frozen=True)
class EmulatorState:
    """``snapshot`` object ``(B,)`` of ALE states; ``screen`` uint8 ``(B, 210, 160)`` palette indices; ``lives`` int64 ``(B,)``;
    ``over`` bool ``(B,)``.
    """

    snapshot: np.ndarray
    screen: np.ndarray
    lives: np.ndarray
    over: np.ndarray


class EmulatorWorldModel:
    """A perfect model of the Atari environment ``env``, in an emulator of its own: ``env`` is only read, never stepped.

    ``init`` begins at the environment's *present* state, whatever observations it is given (pictures do not determine an
    emulator's state). Observations are uint8 ``(210, 160, 3)`` (the colour maximum of the last two emulator frames).
    ``end_on_life_loss`` makes a lost life terminal. A row that is over stays over with reward 0.

    Raises ``ConfigError`` for an environment with sticky actions or without an emulator.
    """

    reward_transform = "none"

    def __init__(self, env: gymnasium.Env[Any, Any], *, end_on_life_loss: bool = False):
        base = env.unwrapped
        self._real: ale_py.ALEInterface | None = getattr(base, "ale", None)
        if self._real is None:
            raise ConfigError(
                f"{type(base).__name__} has no ALE emulator; EmulatorWorldModel needs an Atari environment"
            )
        sticky = self._real.getFloat("repeat_action_probability")
        if sticky != 0:
            raise ConfigError(
                f"repeat_action_probability is {sticky:g}; snapshots are exact only at 0: "
                "gym.make(..., repeat_action_probability=0.0)"
            )
        self.frame_skip = int(getattr(base, "frame_skip", None) or getattr(base, "_frameskip", 1))
        check_positive(frame_skip=self.frame_skip)
        self._end_on_life_loss = end_on_life_loss
        self.action_space = env.action_space
        self._actions = list(base._action_set) if hasattr(base, "_action_set") else self._real.getMinimalActionSet()
        if len(self._actions) != env.action_space.n:  # type: ignore[attr-defined]
            raise MismatchError(f"{len(self._actions)} emulator actions for the action space {env.action_space}")
        height, width = self._real.getScreenDims()
        self.observation_space = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self._emulator = self._second_emulator(base)
        self._at: ale_py.ALEState | None = None  # the snapshot the second emulator stands at
        self._planes = np.empty((2, height, width), np.uint8)

    def _second_emulator(self, base: Any) -> ale_py.ALEInterface:
        assert self._real is not None
        emulator = ale_py.ALEInterface()
        emulator.setFloat("repeat_action_probability", 0.0)
        emulator.setInt("max_num_frames_per_episode", self._real.getInt("max_num_frames_per_episode"))
        emulator.loadROM(ale_py.roms.get_rom_path(base.rom_name if hasattr(base, "rom_name") else base._game))
        emulator.reset_game()
        return emulator

    def init(self, observations: np.ndarray, actions: np.ndarray, *, rng: np.random.Generator) -> EmulatorState:
        """The present state of the environment, once per row of ``observations``."""
        assert self._real is not None
        n = len(observations)
        snapshot = self._real.cloneState(include_rng=True)
        return EmulatorState(
            snapshot=np.array([snapshot] * n, dtype=object),
            screen=np.repeat(self._real.getScreen()[None], n, 0),
            lives=np.full(n, self._real.lives()),
            over=np.full(n, self._real.game_over(with_truncation=False)),
        )

    def step(self, state: EmulatorState, action: np.ndarray, *, rng: np.random.Generator) -> ModelStep[EmulatorState]:
        """Play ``frame_skip`` emulator frames of every row."""
        rows = [self._step_row(state, i, self._actions[a]) for i, a in enumerate(np.asarray(action))]
        snapshots = np.empty(len(rows), object)
        snapshots[:] = [row[0] for row in rows]
        following = EmulatorState(
            snapshot=snapshots,
            screen=np.stack([row[1] for row in rows]),
            lives=np.array([row[2] for row in rows]),
            over=np.array([row[3] for row in rows]),
        )
        return ModelStep(following, np.array([row[4] for row in rows], np.float32), following.over.copy())

    def _step_row(self, state: EmulatorState, i: int, action: int) -> tuple[Any, np.ndarray, int, bool, float]:
        if state.over[i]:
            return state.snapshot[i], state.screen[i], state.lives[i], True, 0.0
        emulator = self._emulator
        if self._at is not state.snapshot[i]:
            emulator.restoreState(state.snapshot[i])
        reward, frames = 0.0, 0
        for frame in range(self.frame_skip):
            reward += emulator.act(action)
            if frame >= self.frame_skip - 2:
                emulator.getScreen(self._planes[frames])
                frames += 1
            if emulator.game_over(with_truncation=False):
                break
        screen = brighter_of(self._planes[0], self._planes[1]) if frames == 2 else emulator.getScreen()
        lives = emulator.lives()
        over = emulator.game_over(with_truncation=False) or (self._end_on_life_loss and lives < state.lives[i])
        self._at = emulator.cloneState(include_rng=True)
        return self._at, screen, lives, over, reward

    def decode(self, state: EmulatorState) -> np.ndarray:
        """RGB pictures uint8 ``(B, 210, 160, 3)``."""
        from atari_vlm.picture import ale_palette

        return ale_palette()[state.screen]

    def digest(self, state: EmulatorState) -> list[str]:
        """SHA-256 of RAM and screen per row, to verify that model and emulator agree."""
        digests = []
        for snapshot, screen in zip(state.snapshot, state.screen, strict=True):
            self._emulator.restoreState(snapshot)
            self._at = snapshot
            digests.append(hashlib.sha256(self._emulator.getRAM().tobytes() + screen.tobytes()).hexdigest())
        return digests

"""The cue game: a text says at the first step which of four doors pays, and the choice comes later. An exact tiny game of memory.

The picture shows four doors in their colours and is always the same. The text names the colour of the door that pays, at the
first step only; the action ``delay`` steps later opens a door. The right one gives +1, any other 0, and the episode ends. The
best return is 1, that of one who cannot read 0.25. In the manner of the T-maze (Bakker 2001, "Reinforcement Learning with Long
Short-Term Memory") with a word as its hint, as in Messenger (Hanjie et al. 2021, arXiv 2101.07393).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError, check_count
from atari_vlm.spaces import text_space
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.catch import check_cells, whole_numbers
from atari_vlm.world_models.checkpoint import Checkpoint

DOORS = ("red", "blue", "green", "yellow")
ACTION_NAMES = tuple(door.upper() for door in DOORS)
_COLOURS = np.array([[200, 72, 72], [66, 72, 200], [72, 160, 72], [210, 210, 64]], np.uint8)
_CELLS, _LONGEST_DELAY = 4, 10**6


@dataclass(frozen=True)
class CueState:
    """Int64 ``(B,)`` each: ``door`` that pays, ``steps`` since the text; ``over`` bool ``(B,)``."""

    door: np.ndarray
    steps: np.ndarray
    over: np.ndarray


class CueWorldModel:
    """The exact world model of the cue game. Implements :class:`~atari_vlm.world_models.base.WorldModel`.

    Observations are dicts of ``image``, uint8 ``(4 * cell_px, 4 * cell_px, 3)``, and ``text``, the colour of the door or nothing;
    actions are the doors. Nothing is random after the start. A row that is over stays as it is with reward 0.
    """

    frame_skip = 1
    reward_transform = "none"
    action_names = ACTION_NAMES

    def __init__(self, delay: int = 4, *, cell_px: int = 8):
        check_count(cell_px=cell_px)
        if type(delay) is not int or not 0 <= delay <= _LONGEST_DELAY:
            raise ConfigError(
                f"delay is a whole number of steps from 0 to {_LONGEST_DELAY:,}, got {delay!r}"
            )
        check_cells(_CELLS, _CELLS, cell_px, 1)
        self.delay, self.context_length = delay, delay + 1
        self.picture = np.zeros((_CELLS, _CELLS, 3), np.uint8)
        self.picture[1:] = _COLOURS  # the doors stand side by side below a dark sky
        self.picture = self.picture.repeat(cell_px, 0).repeat(cell_px, 1)
        image = gymnasium.spaces.Box(0, 255, self.picture.shape, np.uint8)
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Dict(
            {"image": image, "text": text_space(max(map(len, DOORS)))}
        )
        self.action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(len(DOORS))

    @property
    def start(self) -> StartFrames:
        """Every door once, at the step that names it."""
        n = len(DOORS)
        state = CueState(np.arange(n), np.zeros(n, np.int64), np.zeros(n, bool))
        shown = {name: values[:, None] for name, values in self.decode(state).items()}
        return StartFrames(shown, np.zeros((n, 0), np.int64))

    def init(
        self, observations: dict[str, np.ndarray], actions: np.ndarray, *, rng: np.random.Generator
    ) -> CueState:
        """The door that the first text of each row names, and how long ago.

        Raises ``ConfigError`` for a context that does not begin with the name of a door: nothing later says which one pays.
        """
        first, n = observations["text"][:, 0], observations["text"].shape[1]
        if wrong := [text for text in first if text not in DOORS]:
            raise ConfigError(
                f"the cue game begins with the name of a door ({', '.join(DOORS)}), got the text {wrong[0]!r:.40}"
            )
        door = np.array([DOORS.index(text) for text in first], np.int64)
        steps = np.full(len(door), min(n - 1, self.delay + 1))
        return CueState(door, steps, steps > self.delay)

    def observe(
        self,
        state: CueState,
        action: np.ndarray,
        observation: dict[str, np.ndarray],
        *,
        rng: np.random.Generator,
    ) -> CueState:
        """A real step: time goes on."""
        return self._later(state)

    def step(
        self, state: CueState, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[CueState]:
        """Time goes on; at the last step the door is opened."""
        following = self._later(state)
        opens = following.over & ~state.over
        reward = (opens & (np.asarray(action) == state.door)).astype(np.float32)
        return ModelStep(following, reward, following.over.copy())

    def _later(self, state: CueState) -> CueState:
        steps = state.steps + ~state.over
        return replace(state, steps=steps, over=steps > self.delay)

    def decode(self, state: CueState) -> dict[str, np.ndarray]:
        """The picture, which tells nothing, and the text at the first step."""
        n = len(state.over)
        texts = np.full(n, "", object)
        first = state.steps == 0
        texts[first] = np.array(DOORS, object)[state.door[first]]
        return {"image": np.repeat(self.picture[None], n, 0), "text": texts}


def load(checkpoint: Checkpoint) -> CueWorldModel:
    """The game of a checkpoint, whose config has ``delay`` and ``cell_px``."""
    return CueWorldModel(**whole_numbers(checkpoint, ("delay", "cell_px"), "the cue game"))

"""What one dream and many have in common: where they begin, what brings them back to real games, and what is seen of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.actions import numbers_of
from atari_vlm.errors import ConfigError, NotSupportedError, UnknownNameError, check_positive
from atari_vlm.space_trees import picture_in, value_at
from atari_vlm.trees import put_rows, stacked, take_rows
from atari_vlm.world_models.base import WorldModel
from atari_vlm.wrappers.dream_start import RealStart, Start, start_of


class Dreaming:
    """``num`` dreams in a model: how their states are made, and when they end.

    Raises ``ConfigError``, ``MismatchError`` or ``UnknownNameError`` for arguments of
    :class:`~atari_vlm.wrappers.world_model_vector_env.WorldModelVectorEnv` that cannot be meant.
    """

    def __init__(
        self,
        world_model: WorldModel[Any],
        num: int,
        start: Start,
        max_steps: int | None,
        render_mode: str | None,
        reanchor_every: int | None,
    ):
        given = {"max_episode_steps": max_steps, "reanchor_every": reanchor_every}
        check_positive(num_envs=num, **{name: n for name, n in given.items() if n is not None})
        if render_mode not in (None, "rgb_array"):
            raise UnknownNameError("render_mode", render_mode, ("rgb_array",))
        self.model, self.max_steps, self._start = (
            world_model,
            max_steps,
            start_of(start, world_model),
        )
        real = self._start.envs if isinstance(self._start, RealStart) else []
        if len(real) > 1 and len(real) != num:
            raise ConfigError(
                f"start is one real environment or one for each of the {num} dreams, got {len(real)}"
            )
        self.anchor: Anchor | None = None
        if reanchor_every is not None:
            if not isinstance(self._start, RealStart) or len(real) != num:
                raise ConfigError(
                    f"reanchor_every needs a real environment for each of the {num} dreams as start, got {len(real)}"
                )
            self.anchor = Anchor(world_model, self._start, reanchor_every)
        skip = world_model.frame_skip
        self.render_fps = max(1, round(60 / skip)) if skip > 1 else 15

    def begin(self, rows: np.ndarray, rng: np.random.Generator) -> Any:
        """The states of new dreams in ``rows``."""
        contexts = [self._start.begin(int(row), rng) for row in rows]
        fresh = state_of(self.model, contexts, rng)
        if self.anchor is not None:
            self.anchor.begin(rows, fresh)
        return fresh

    def pictures(self, state: Any, observations: Any) -> np.ndarray:
        """What there is to be seen of the rows, uint8 ``(B, H, W, 3)``: what the model draws of them, else
        the one RGB picture of ``observations``; ``NotSupportedError`` where there is neither.
        """
        if hasattr(self.model, "render"):
            return np.array(self.model.render(state))
        path = picture_in(self.model.observation_space)
        if path is None:
            raise NotSupportedError(
                f"this world model draws nothing: it has no render, and shows {self.model.observation_space}"
            )
        return np.array(value_at(observations, path))

    def action_names(self) -> list[str]:
        """Those of the model, else numbers."""
        names = getattr(self.model, "action_names", None)
        return list(names or map(str, numbers_of(self.model.action_space)))

    def texts(self, state: Any) -> list[str] | None:
        """What the dreams say, where the model tells it."""
        tell = getattr(self.model, "imagined_text", None)
        return None if tell is None else list(tell(state))


class Anchor:
    """Real environments, one a dream, which play what is played in the dream and bring it back every so many steps.

    A model that can ``observe`` takes in every real step once; of another one the state is made anew from its context.
    """

    def __init__(self, world_model: WorldModel[Any], real: RealStart, every: int):
        self._model, self._real, self._every = world_model, real, every
        self._observe = getattr(world_model, "observe", None)
        self._state: Any = None  # what the real environments lead to, of a model that can observe

    def begin(self, rows: np.ndarray, fresh: Any) -> None:
        """Dreams of ``rows`` begin anew in the states ``fresh``."""
        if self._observe is not None:
            self._state = replaced(self._state, rows, fresh, len(self._real.envs))

    def follow(
        self,
        state: Any,
        actions: np.ndarray,
        going: tuple[np.ndarray, np.ndarray],
        rng: np.random.Generator,
    ) -> tuple[Any, np.ndarray]:
        """The state after the real environments of live dreams have played ``actions``, and whose it is now, bool ``(B,)``.

        ``going``: which dreams are live, and the steps of those that go on (of others anything that is no multiple).
        """
        live, steps = going
        self._real.follow(np.flatnonzero(live), actions)
        if self._observe is not None:
            shown = self._real.latest()
            self._state = self._observe(self._state, actions, shown, rng=rng)
        due = np.flatnonzero(live & (steps > 0) & (steps % self._every == 0)).tolist()
        rows = np.array([row for row in due if not self._real.is_over(row)], np.int64)
        if len(rows):
            state = replaced(state, rows, self._fresh(rows, rng), len(live))
        reanchored = np.zeros(len(live), bool)
        reanchored[rows] = True
        return state, reanchored

    def _fresh(self, rows: np.ndarray, rng: np.random.Generator) -> Any:
        if self._observe is not None:
            return take_rows(self._state, rows)
        return state_of(self._model, [self._real.context(int(row)) for row in rows], rng)


def state_of(
    world_model: WorldModel[Any], contexts: list[tuple[Any, np.ndarray]], rng: np.random.Generator
) -> Any:
    """The state of as many rows, made from their contexts."""
    observations, actions = (stacked(part) for part in zip(*contexts, strict=True))
    return world_model.init(observations, actions, rng=rng)


def replaced(state: Any, rows: np.ndarray, fresh: Any, num: int) -> Any:
    """``state`` of ``num`` rows with some of them ``fresh``."""
    return fresh if len(rows) == num else put_rows(state, rows, fresh)

"""An episode as a world model sees it: its last observations, or the state that all of them lead to."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_action, as_actions
from atari_vlm.space_trees import is_rgb, nothing_of
from atari_vlm.trees import stacked
from atari_vlm.types import Action
from atari_vlm.world_models.base import WorldModel, context_space_of
from atari_vlm.world_models.seeing import Eye, FrameSource


def picture_of(env: gymnasium.Env[Any, Any], observation: Any, eye: Eye) -> Any:
    """A real environment's present picture as a model sees it: the screen of an emulator, else what
    the observation shows.

    The rendered screen also stands in for observations that the model cannot see.
    """
    if env.render_mode == "rgb_array" and is_rgb(eye.space):
        if hasattr(env.unwrapped, "ale") or not eye.sees(env.observation_space):
            return eye.of(env.render())
    return eye(observation)


REMEMBERED = 8  # real observations that a model is told which remembers by itself


def observations_told(model: WorldModel[Any]) -> int:
    """How many real observations a state is made of where no episode is followed: as many as ``init`` reads, at least one, and
    to a recurrent model (``observe``), which says that one is enough, :data:`REMEMBERED`.
    """
    length = max(1, int(getattr(model, "context_length", 1)))
    return REMEMBERED if length == 1 and hasattr(model, "observe") else length


class Context:
    """The last ``context_length`` pictures (default 1) that a model was shown, and the actions
    played between them.

    A model with ``context_length`` 0 needs no picture. A picture that does not follow an action
    begins anew.
    """

    def __init__(self, world_model: WorldModel[Any]):
        self._space, self._action_space = context_space_of(world_model), world_model.action_space
        self.length = int(getattr(world_model, "context_length", 1))
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self._pictures: deque[Any] = deque(maxlen=self.length)
        self._actions: deque[Action] = deque(maxlen=max(0, self.length - 1))
        self._moved = False

    @property
    def is_full(self) -> bool:
        """Whether there are as many pictures as the model reads."""
        return len(self._pictures) == self.length

    def observed(self, picture: Any) -> None:
        """Keep a picture, which is nobody else's memory."""
        if not self._moved:
            self.reset()
        self._pictures.append(picture)
        self._moved = False

    def executed(self, action: Any) -> None:
        """Keep what was played after the last picture."""
        self._actions.append(as_action(self._action_space, action, "an executed action"))
        self._moved = True

    def arrays(self) -> tuple[Any, np.ndarray]:
        """Observations ``(T, ...)``, and the actions between them, int64 ``(T - 1,)``, or int64 or
        float32 ``(T - 1, A)``.
        """
        num = len(self._pictures)
        if num == 0:
            return nothing_of(self._space), as_actions(self._action_space, [])
        between = list(self._actions)[max(0, len(self._actions) - (num - 1)) :]
        return stacked(list(self._pictures)), as_actions(self._action_space, between)


class WorldView:
    """An episode as a world model sees it, through an :class:`Eye`, and the state that it leads to.

    A model that can ``observe`` takes in every real step once; of another one the state is made
    from its context.
    """

    def __init__(self, world_model: WorldModel[Any], frame_source: FrameSource | None = None):
        self._model, self._eye = world_model, eye_of(world_model, frame_source)
        self._context = Context(world_model)
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self._context.reset()
        self._state: Any = None
        self._action: Action | None = None
        self._news: list[
            tuple[Action | None, Any]
        ] = []  # steps that ``_state`` does not know of yet

    def observe(self, observation: Any) -> None:
        """Take in the present observation; once per step."""
        if not self._context.length:
            return
        picture = self._eye(observation)
        if hasattr(self._model, "observe"):
            self._news.append((self._action, picture))
        else:
            self._context.observed(picture)
        self._action = None

    def executed(self, action: Any) -> None:
        """Note the executed action."""
        self._context.executed(action)
        self._action = as_action(self._model.action_space, action, "an executed action")

    def state(self, rng: np.random.Generator) -> Any:
        """The model's state of one row for the present moment."""
        if not hasattr(self._model, "observe") or not self._context.length:
            pictures, actions = self._context.arrays()
            return self._model.init(stacked([pictures]), actions[None], rng=rng)
        for action, picture in self._news:
            if action is None:
                none = as_actions(self._model.action_space, np.zeros((1, 0)))
                self._state = self._model.init(stacked([stacked([picture])]), none, rng=rng)
            else:
                played = np.asarray(action)[None]
                self._state = self._model.observe(self._state, played, stacked([picture]), rng=rng)
        self._news.clear()
        return self._state

    def frame(self, observation: Any) -> Any:
        """The present picture as the model sees it."""
        return self._eye(observation)


def eye_of(world_model: WorldModel[Any], frame_source: FrameSource | None = None) -> Eye:
    """The eye of a model, which may say in ``shown_shape`` and ``aliases`` what it learned from."""
    shown_shape = getattr(world_model, "shown_shape", None)
    aliases = getattr(world_model, "aliases", None)
    return Eye(context_space_of(world_model), frame_source, shown_shape, aliases)

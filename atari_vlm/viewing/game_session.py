"""A game that somebody plays step by step: a person or an agent, shown as panels, recorded on request.

The session knows nothing of windows; :mod:`atari_vlm.viewing.game_window` shows one, and a recording needs none. More
pictures can stand beside the game's own, which then has a ``title``, through ``more_panels``. Whoever follows an agent's play
is told of every episode's seed (``on_begin``) and of every step (``on_step``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.actions import as_action, numbers_of
from atari_vlm.agents.base import Agent
from atari_vlm.description import read_actions
from atari_vlm.errors import ConfigError
from atari_vlm.space_trees import picture_in, value_at
from atari_vlm.spaces import Env
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.viewing.panels import Panel, action_text, draw_panels
from atari_vlm.viewing.recording import Recording

_HEIGHT = 420  # pixels that a picture is enlarged to, about


class GameSession:
    """One player in one environment; episodes get the seeds ``seed``, ``seed + 1``, ..."""

    def __init__(
        self,
        env: Env,
        agent: Agent | None,
        seed: int,
        *,
        header: bool = True,
        zoom: int | None = None,
    ):
        self.env, self.agent, self.header, self.zoom = env, agent, header, zoom
        self.recording: Recording | None = None
        self.title = ""
        self.more_panels: Callable[[Any], Sequence[Panel]] = lambda observation: ()
        self.on_begin: Callable[[int], object] = lambda seed: None
        self.on_step: Callable[[Transition], object] = lambda step: None
        self.over = True
        self._next_seed = seed
        self._observation: Any = None
        self._last: tuple[Any, float] | None = None
        self._return = 0.0
        self._step = 0

    def begin(self) -> None:
        """Begin the next episode."""
        if self.agent is not None:
            self.agent.reset(seed=self._next_seed)
        self._observation, _ = self.env.reset(seed=self._next_seed)
        self.on_begin(self._next_seed)
        self._next_seed += 1
        self._last, self._return, self._step, self.over = None, 0.0, 0, False
        if self.recording is not None:
            self.recording.start(self._observed_picture(), self.picture())

    def step(self, action: Any = None) -> None:
        """Play ``action``, or without one what the agent decides. Nothing happens when the episode is over."""
        if self.over:
            return
        before = self._observation
        decision = self.agent.act(before) if action is None and self.agent is not None else None
        if decision is None and action is None:
            raise ConfigError("there is no agent to choose an action")
        wanted = action if decision is None else decision.action
        executed = as_action(self.env.action_space, wanted)  # int, or an array (A,)
        self._observation, reward, terminated, truncated, info = self.env.step(executed)
        self._step += 1
        self._return += float(reward)
        self._last, self.over = (executed, float(reward)), bool(terminated or truncated)
        if self.agent is not None:
            decision = decision or Decision(executed, Source.POLICY)
            ends = (bool(terminated), bool(truncated))
            played = Transition(before, decision, float(reward), self._observation, *ends, info)
            self.agent.observe(played)
            self.on_step(played)
        if self.recording is not None:
            outcome = (executed, float(reward), bool(terminated), bool(truncated))
            self.recording.step(outcome, self._observed_picture(), self.picture())

    def picture(self) -> np.ndarray:
        """What is to be seen now: uint8 ``(H, W, 3)`` with even sides."""
        screen = np.asarray(self.env.render())
        panels = [Panel(screen, self.title), *self.more_panels(self._observation)]
        zoom = self.zoom or max(1, round(_HEIGHT / screen.shape[0]))
        return draw_panels(panels, self.status() if self.header else "", zoom)

    def status(self) -> str:
        """One line: step, action, reward, return."""
        action, reward = (
            ("none", 0.0) if self._last is None else (self._name(self._last[0]), self._last[1])
        )
        end = "   over" if self.over else ""
        return f"step {self._step}   action {action}   reward {reward:g}   return {self._return:g}{end}"

    def start_recording(self, recording: Recording) -> None:
        """Record from now on."""
        self.recording = recording
        recording.start(self._observed_picture(), self.picture())

    def stop_recording(self) -> Path | None:
        """Finish the recording if there is one; its path."""
        recording, self.recording = self.recording, None
        return None if recording is None else recording.close()

    def action_names(self) -> tuple[str, ...]:
        """The names of the actions where the environment gives them, else none."""
        if isinstance(self._observation, Mapping) and isinstance(
            self._observation.get("action_space"), str
        ):
            return read_actions(self._observation["action_space"])
        meanings = getattr(self.env.unwrapped, "get_action_meanings", tuple)
        return tuple(meanings())

    def _name(self, action: Any) -> str:
        return action_text(action, self.action_names(), numbers_of(self.env.action_space).start)

    def _observed_picture(self) -> np.ndarray:
        """The picture that the player acts on: that of the observation where it has one, else the rendered one."""
        path, observed = picture_in(self.env.observation_space), self._observation
        if path is not None:
            return np.asarray(value_at(observed, path))
        if isinstance(observed, Mapping):
            observed = observed.get("image")
        array = np.asarray(None if isinstance(observed, tuple) else observed)
        is_gray = array.dtype == np.uint8 and array.ndim in (2, 3) and min(array.shape[:2]) > 4
        return array if is_gray else np.asarray(self.env.render())

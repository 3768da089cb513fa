"""Time that passes while a model thinks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.wrappers.latency_models import checked_seconds, latency_model
from atari_vlm.wrappers.views import action_names, frames_per_step

Latency = str | float | Mapping[str, Any]
_STREAM = (
    0x1A7E  # keeps the latencies' random numbers apart from the environment's under the same seed
)


class LatencyAware(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Let the game go on while a reply is awaited: its latency becomes emulator frames during which one action is held.

    ``step(action)`` first plays the wait, holding, and then the action. The wait is played in whole steps of the wrapped
    environment; what is left over, less than a step, is added to the next wait, so that the total is exact to one step.
    Rewards of held steps are added to the reward. If the episode ends during the wait, the action comes too late and is not
    played. ``info`` tells ``latency_s``, ``held_steps``, ``held_frames`` and ``action_played``.

    The wrapper reads no clock. The same seeds, actions and latencies give the same episode.

    Args:
        env: any environment; its own limit on steps counts held steps too.
        latency: where the seconds come from: ``"measured"``, the caller says them by :meth:`set_latency` before each step;
            a number; or a model drawn from the seed of ``reset``: ``{"kind": "lognormal", "median_s": 1.5, "sigma": 0.5}``,
            ``{"kind": "uniform", "low_s": 0.5, "high_s": 2.0}``, ``{"kind": "empirical", "seconds": [0.8, 1.1, 2.5]}``.
        hold: what is held: ``"noop"``; ``"last"``, the action played last (before the first one, NOOP or else action 0); or
            an action.
        fps: emulator frames per second.
        frame_skip: emulator frames per step of the wrapped environment, if it cannot say so itself.

    Raises ``ConfigError`` or ``UnknownNameError`` for wrong arguments.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        latency: Latency = "measured",
        hold: Any = "noop",
        fps: float = 60,
        frame_skip: int | None = None,
    ):
        gymnasium.utils.RecordConstructorArgs.__init__(
            self, latency=latency, hold=hold, fps=fps, frame_skip=frame_skip
        )
        super().__init__(env)
        check_positive(fps=fps, frame_skip=1 if frame_skip is None else frame_skip)
        self.fps, self.hold = fps, hold
        self.frame_skip = frames_per_step(env) if frame_skip is None else frame_skip
        self._model = None if latency == "measured" else latency_model(latency)
        self._first_held = _action_to_hold(env, hold)
        self._last_action = self._first_held
        self._rng = np.random.default_rng()
        self._measured_s = 0.0
        self._owed_frames = 0.0

    def set_latency(self, seconds: float) -> None:
        """Say how long the reply behind the next step took (for a journalled reply the journalled time).

        It counts for one step only. Where a model gives the latencies it is not used. ``ConfigError`` unless finite and >= 0.
        """
        self._measured_s = checked_seconds(seconds)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; ``seed`` also fixes the latencies of a model."""
        if seed is not None:
            self._rng = np.random.default_rng((seed, _STREAM))
        self._last_action, self._measured_s, self._owed_frames = self._first_held, 0.0, 0.0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play the wait, then the action."""
        latency_s = self._measured_s if self._model is None else self._model.draw(self._rng)
        self._measured_s = 0.0
        wanted = self._due_steps(latency_s)
        held, total, ended = 0, 0.0, False
        held_action = self._last_action if self.hold == "last" else self._first_held
        while held < wanted and not ended:
            observation, reward, terminated, truncated, info = self.env.step(held_action)
            held, total, ended = held + 1, total + float(reward), terminated or truncated
        if not ended:
            observation, reward, terminated, truncated, info = self.env.step(action)
            total, self._last_action = total + float(reward), copy.copy(action)
        wait = {"latency_s": latency_s, "held_steps": held, "held_frames": held * self.frame_skip}
        return (
            observation,
            total,
            terminated,
            truncated,
            {**info, **wait, "action_played": not ended},
        )

    def _due_steps(self, latency_s: float) -> int:
        """Whole steps of the wrapped environment in the wait and what was left over; the rest is left over again."""
        self._owed_frames += latency_s * self.fps
        steps = int(self._owed_frames // self.frame_skip)
        self._owed_frames -= steps * self.frame_skip
        return steps


def _action_to_hold(env: gymnasium.Env[Any, Any], hold: Any) -> Any:
    """The action that is held, for ``"last"`` before there is a last one."""
    space = env.action_space
    if isinstance(hold, str):
        if hold not in ("noop", "last"):
            raise UnknownNameError("hold", hold, ("noop", "last"))
        names = (
            action_names(env, f"LatencyAware with hold={hold!r}")
            if isinstance(space, Discrete)
            else ()
        )
        if "NOOP" in names:
            return names.index("NOOP")
        if hold == "last" and names:
            return 0
        other = "hold='last' or " if names else ""
        raise ConfigError(
            f"hold={hold!r} needs an action called NOOP; pass {other}an action of {space}"
        )
    action = hold if isinstance(space, Discrete) else np.asarray(hold, space.dtype)
    if not space.contains(action):
        raise ConfigError(f"hold must be 'noop', 'last' or an action of {space}, got {hold!r}")
    return action

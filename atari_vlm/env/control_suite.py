"""Tasks of the DeepMind Control Suite (Tassa et al. 2018, arXiv 1801.00690) as environments of vectors: the extra ``dmc``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, MissingDependencyError, NotSupportedError, check_count

_SIZE_PX = 64


class ControlSuite(gymnasium.Env[np.ndarray, np.ndarray]):
    """``task`` of ``domain``: everything it observes as one float32 vector, actions float32 within its bounds.

    An action is done ``action_repeat`` times and rewards are added up, as Dreamer's settings for the suite have it. A task that
    comes to its time limit is truncated, one that ends otherwise terminates. ``rgb_array`` needs a GL that draws without a
    window (``MUJOCO_GL=egl``).

    Raises ``MissingDependencyError`` where dm_control is not installed, ``ConfigError`` for a task that it has not.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012

    def __init__(
        self, domain: str, task: str, *, action_repeat: int = 2, render_mode: str | None = None
    ):
        check_count(action_repeat=action_repeat)
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode is None or 'rgb_array', got {render_mode!r}")
        self.render_mode, self.action_repeat = render_mode, action_repeat
        self._task = _loaded(_suite(), domain, task)
        seen = sum(int(np.prod(part.shape)) for part in self._task.observation_spec().values())
        self.observation_space = Box(-np.inf, np.inf, (seen,), np.float32)
        does = self._task.action_spec()
        bounds = (np.broadcast_to(end, does.shape) for end in (does.minimum, does.maximum))
        low, high = (end.astype(np.float32) for end in bounds)
        self.action_space = Box(low, high, does.shape, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; a seed decides how."""
        super().reset(seed=seed)
        if seed is not None:
            self._task.task.random.seed(int(self.np_random.integers(2**32)))
        return _vector(self._task.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do an action so often, or until the task is over."""
        reward = 0.0
        for _ in range(self.action_repeat):
            moved = self._task.step(np.asarray(action, np.float64))
            reward += float(moved.reward or 0.0)
            if moved.last():
                break
        ends = bool(moved.last() and moved.discount == 0)
        return _vector(moved.observation), reward, ends, bool(moved.last() and not ends), {}

    def render(self) -> Any:
        """The scene, uint8 ``(64, 64, 3)``; ``NotSupportedError`` where nothing can draw it."""
        if self.render_mode is None:
            return None
        try:
            return self._task.physics.render(height=_SIZE_PX, width=_SIZE_PX, camera_id=0)
        except Exception as error:  # every GL has its own way to be absent
            raise NotSupportedError(
                f"the suite cannot draw here, try MUJOCO_GL=egl: {error}"
            ) from error

    def close(self) -> None:
        """Free what the physics holds."""
        self._task.close()


def _suite() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing display, which states do not need
        return require("dm_control.suite", "dmc")


def _loaded(suite: ModuleType, domain: str, task: str) -> Any:
    try:
        return suite.load(domain, task)
    except ValueError as error:
        raise ConfigError(
            f"the control suite has no task {task!r} of {domain!r}: {error}"
        ) from error
    except AttributeError as error:  # a MuJoCo whose structures it does not know
        raise MissingDependencyError(
            f"this dm_control and this MuJoCo do not fit ({error}): pip install 'atari-vlm[dmc]' brings two that do"
        ) from error


def _vector(observation: Mapping[str, Any]) -> np.ndarray:
    parts = [np.ravel(np.asarray(part, np.float32)) for part in observation.values()]
    return np.concatenate(parts)

"""One step of one row whose state is a vector of floats, the short way: what an environment of such a program does all day."""

from __future__ import annotations

from collections.abc import Callable
from math import hypot
from typing import Any

import numpy as np

from atari_vlm.world_models.code.model_states import ALIVE, OVER, CodeState, Numbers

StepOne = Callable[..., tuple[CodeState, Any, float, bool]]
_FLOAT64 = np.dtype(np.float64)
_SHOWN = (np.dtype(np.float32), _FLOAT64)
_SAFE = 1e38  # the length of a vector whose numbers float32 can hold; that of what is not finite is not below it


def is_vector(form: Any) -> bool:
    """Whether states of this form are vectors of floats that are shown as float32 or float64."""
    return isinstance(form, Numbers) and len(form.shape) == 1 and form.dtype in _SHOWN


def vector_step(runner: Any, form: Numbers, finish: Callable[..., Any]) -> StepOne:
    """``step_one`` over a program of contract 1 that draws nothing; what is anything but a plain vector is left to ``finish``."""
    step = getattr(runner, "step_vector", runner.step)
    shape, dtype = form.shape, form.dtype

    def step_one(
        state: CodeState, action: Any, *, rng: np.random.Generator
    ) -> tuple[CodeState, Any, float, bool]:
        values, over = state
        if over is not ALIVE and over[0]:
            return finish(values[0], 0.0, True)  # type: ignore[no-any-return]
        row, reward, done = step(values[0], action)
        if (
            type(row) is np.ndarray
            and row.dtype is _FLOAT64
            and row.shape == shape
            and hypot(*row.tolist()) < _SAFE
        ):
            moved = CodeState(row[np.newaxis], OVER if done else ALIVE)
            return moved, row.astype(dtype), reward, done
        return finish(row, reward, done)  # type: ignore[no-any-return]

    return step_one

"""Rows of states to a program and back: rows that have ended stay as they are, and each draws from a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from atari_vlm.errors import ConfigError, SandboxProgramError
from atari_vlm.trees import put_rows, take_rows
from atari_vlm.world_models.code.model_states import CodeState, StateForm, checked
from atari_vlm.world_models.code.sandbox import Sandbox
from atari_vlm.world_models.code.sandbox_local import LocalProgram
from atari_vlm.world_models.code.sandbox_rows import RowSteps, joined
from atari_vlm.world_models.code.worker_program import CONTRACTS


def contract_of(runner: Sandbox | LocalProgram, contract: int | None) -> int:
    """The contract of a program; ``ConfigError`` where it does not have its methods, or is run by another one."""
    if contract not in (None, *CONTRACTS):
        raise ConfigError(f"contract is 1, 2 or None, got {contract!r}")
    held = contract or runner.contract or 1
    if missing := [name for name in CONTRACTS[held] if name not in runner.methods]:
        raise ConfigError(
            f"a program of contract {held} has {', '.join(CONTRACTS[held])} in class Environment; "
            f"this one has no {', '.join(missing)}"
        )
    if runner.contract != held:
        raise ConfigError(f"a program that has set_state and step is of contract 1, got {held}")
    return held


class Moved(NamedTuple):
    """What rows came to: ``values`` of the form, ``rewards`` float64 and ``dones`` bool ``(B,)`` or ``(B, H)``, errors by row."""

    values: Any
    rewards: np.ndarray
    dones: np.ndarray
    errors: Mapping[int, Exception]


class ProgramRows:
    """The rows of one program, whose actions have ``width`` axes (0 or 1)."""

    def __init__(self, runner: Sandbox | LocalProgram, form: StateForm, width: int):
        self._runner, self._form, self._width = runner, form, width
        self.is_random = "random" in runner.program

    def seeds(self, rng: np.random.Generator, count: int) -> list[int]:
        """A seed for each row; nothing is drawn for a program that cannot draw."""
        if not self.is_random:
            return [0] * count
        seeds: list[int] = rng.integers(1 << 32, size=count, dtype=np.uint32).tolist()
        return seeds

    def call(
        self, method: str, arguments: Iterable[tuple[Any, ...]], seeds: list[int] | None = None
    ) -> list[Any]:
        """What a method gives for each row's arguments."""
        rows = list(arguments)
        pairs = zip(rows, seeds or [0] * len(rows), strict=True)
        return [self._runner.call(method, *row, seed=seed) for row, seed in pairs]

    def drawn(self, states: Iterable[Any]) -> list[Any]:
        """What ``render`` makes of each row."""
        return [self._runner.call("render", state, arrays=True) for state in states]

    def reset(self, arguments: list[tuple[Any, Any]], rng: np.random.Generator) -> Any:
        """Values of the states that ``reset`` makes."""
        made = self.call("reset", arguments, self.seeds(rng, len(arguments)))
        return checked(*self._form.read(made))

    def step(self, state: CodeState, actions: np.ndarray, rng: np.random.Generator) -> Moved:
        """A step of the rows that have not ended."""
        return self._moved(self._runner.step_rows, state, actions, rng)

    def rollout(self, state: CodeState, plans: np.ndarray, rng: np.random.Generator) -> Moved:
        """All plans of the rows that have not ended."""
        return self._moved(self._runner.rollout, state, plans, rng)

    def _moved(
        self,
        move: Callable[..., RowSteps],
        state: CodeState,
        actions: np.ndarray,
        rng: np.random.Generator,
    ) -> Moved:
        over = state.over
        seeds = self.seeds(rng, len(over)) if self.is_random else []
        if not over.any():
            return self._alive(move, state.values, actions, seeds)
        alive = np.flatnonzero(~over)
        shape = actions.shape[: actions.ndim - self._width]
        rewards, dones = np.zeros(shape), np.ones(shape, bool)
        if not len(alive):
            return Moved(state.values, rewards, dones, {})
        seeds = [seeds[row] for row in alive] if self.is_random else seeds
        moved = self._alive(move, take_rows(state.values, alive), actions[alive], seeds)
        rewards[alive], dones[alive] = moved.rewards, moved.dones
        errors = {int(alive[row]): error for row, error in moved.errors.items()}
        return Moved(put_rows(state.values, alive, moved.values), rewards, dones, errors)

    def _alive(
        self, move: Callable[..., RowSteps], values: Any, actions: np.ndarray, seeds: list[int]
    ) -> Moved:
        rows = self._form.rows(values)
        if self.is_random:
            each = (slice(row, row + 1) for row in range(len(actions)))
            pairs = zip(each, seeds, strict=True)
            moved = joined([move(rows[row], actions[row], seed=seed) for row, seed in pairs])
        else:
            moved = move(rows, actions)
        following, wrong = self._form.read(moved.states)
        if not wrong:
            return Moved(following, moved.rewards, moved.dones, moved.errors)
        rewards, dones = moved.rewards.copy(), moved.dones.copy()
        for row in wrong:  # of a plan the last step is blamed, where states are first looked at
            at = row if rewards.ndim == 1 else (row, -1)
            rewards[at], dones[at] = -np.inf, True
        errors = {row: SandboxProgramError(text) for row, text in wrong.items()}
        return Moved(following, rewards, dones, {**errors, **moved.errors})

"""A program as a world model: what a language model wrote, run in a sandbox behind the ``WorldModel`` protocol.

Contract 1, whose state is the observation::

    class Environment:
        def set_state(self, state): ...
        def step(self, action): ...                    # -> (state, reward, done)

Contract 2, for hidden states and pictures; states are plain data (numbers, texts, lists, dicts)::

    class Environment:
        def reset(self, observations, actions): ...    # a context (T, ...), actions (T - 1, ...) -> state
        def step(self, state, action): ...             # -> (state, reward, done)
        def observe(self, state): ...                  # -> an observation
        def render(self, state): ...                   # optional -> a picture uint8 (H, W, 3)
        def step_batch(self, states, actions): ...     # optional: arrays (B, ...) -> (states, rewards, dones)

The program never sees what is true, only contexts and actions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import check_action_space
from atari_vlm.errors import (
    ConfigError,
    MismatchError,
    SandboxProgramError,
    UnknownNameError,
    check_count,
)
from atari_vlm.settings import with_changes
from atari_vlm.space_trees import described, fits
from atari_vlm.trees import map_leaves, put_rows, take_row, take_rows
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.checkpoint import REWARD_TRANSFORMS, Checkpoint, save_checkpoint
from atari_vlm.world_models.code.checkpoint import arguments_of, config_of, names_of
from atari_vlm.world_models.code.model_lean import is_vector, vector_step
from atari_vlm.world_models.code.model_states import (
    ALIVE,
    OVER,
    CodeState,
    Columns,
    Numbers,
    PlainData,
    StateForm,
    Trees,
    checked,
    float32,
    observed_form,
    picture_rows,
    plain,
)
from atari_vlm.world_models.code.sandbox import Sandbox
from atari_vlm.world_models.code.sandbox_local import LocalProgram
from atari_vlm.world_models.code.sandbox_rows import joined
from atari_vlm.world_models.code.worker_program import CONTRACTS


class CodeWorldModel:
    """The program ``program`` as a :class:`~atari_vlm.world_models.base.WorldModel`; its worker lives until :meth:`close`.

    Args:
        program: its text, or one that is loaded already (``Sandbox``, ``LocalProgram``), which is closed with the model.
        observation_space: what ``decode`` shows; ``Box``, ``Discrete``, ``MultiDiscrete``, ``MultiBinary``, ``Tuple``, ``Dict``.
        action_space: one that :mod:`atari_vlm.actions` takes.
        context_space: what contexts are of; with contract 1, and by default, the observation space.
        contract: 1 or 2 (see above); ``None``: the one whose methods the program has.
        start: contexts that dreams begin from. A model of contract 2 reads contexts as long as these (default 1).
        action_names: a name for each discrete action; by default its number.
        frame_skip, reward_transform, game: what the program's steps and rewards are of.
        deadline_s: seconds that one call of the program may take. memory_mb: what its process may hold.

    A row that has ended stays as it is with reward 0. Rewards and ends are the program's own; a state of contract 1 must be
    finite numbers of the observation's shape. Random numbers of the program are seeded from ``rng``, each row on its own.

    Raises ``ConfigError`` and ``MismatchError`` for arguments that do not fit; what the program does wrong in ``init``, ``step``,
    ``decode`` or ``render`` is a ``SandboxError``. In ``rollout`` a row whose program raised has the reward NaN from there on.
    """

    def __init__(
        self,
        program: str | Sandbox | LocalProgram,
        *,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        context_space: gymnasium.Space[Any] | None = None,
        contract: int | None = None,
        start: StartFrames | None = None,
        action_names: Any = None,
        frame_skip: int = 1,
        reward_transform: str = "none",
        game: str | None = None,
        deadline_s: float = 2.0,
        memory_mb: int = 1024,
    ):
        self._arguments = {name: value for name, value in locals().items() if name != "self"}
        check_action_space(action_space, "the program")
        check_count(frame_skip=frame_skip)
        if reward_transform not in REWARD_TRANSFORMS:
            raise UnknownNameError("reward_transform", reward_transform, REWARD_TRANSFORMS)
        if contract not in (None, *CONTRACTS):
            raise ConfigError(f"contract is 1, 2 or None, got {contract!r}")
        self.observation_space, self.action_space = observation_space, action_space
        self.context_space = observation_space if context_space is None else context_space
        self.frame_skip, self.reward_transform, self.game, self.start = (
            frame_skip,
            reward_transform,
            game,
            start,
        )
        self._shown, self._contexts = (
            observed_form(observation_space),
            observed_form(self.context_space),
        )
        self._name_actions(action_names)
        self._check_start(start)
        self._runner = (
            Sandbox(program, deadline_s=deadline_s, memory_mb=memory_mb)
            if isinstance(program, str)
            else program
        )
        try:
            self._read_contract(contract)
        except ConfigError:
            self.close()
            raise

    @property
    def program(self) -> str:
        """The program's text."""
        return self._runner.program

    @property
    def contract(self) -> int:
        """1 or 2, see above."""
        return self._contract

    def init(
        self, observations: Any, actions: np.ndarray, *, rng: np.random.Generator
    ) -> CodeState:
        """States after contexts ``(B, T, ...)`` of the context space: their last observation, or what ``reset`` makes of all."""
        if not fits(self.context_space, observations, 2):
            shown = described(observations, 2)
            raise MismatchError(f"the program reads {self.context_space}, a context holds {shown}")
        count = len(actions)
        if isinstance(self._form, (Numbers, Trees)):
            values = self._form.kept(map_leaves(lambda leaf: leaf[:, -1], observations))
        else:
            contexts = self._contexts.kept(observations)
            rows = ((map_leaves(plain, take_row(contexts, i)), actions[i]) for i in range(count))
            values = checked(*self._form.read(self._called("reset", rows, self._seeds(rng, count))))
        return CodeState(values, np.zeros(count, bool))

    def step(
        self, state: CodeState, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[CodeState]:
        """One step of every row that has not ended; ``SandboxProgramError`` where the program raises in one of them."""
        following, rewards, dones, errors = self._moved(self._runner.step_rows, state, action, rng)
        for row, error in errors.items():
            raise type(error)(f"row {row}: {error}" if len(action) > 1 else str(error))
        return ModelStep(CodeState(following, dones), float32(rewards), dones.copy())

    def rollout(
        self, state: CodeState, plans: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[CodeState]:
        """Plans ``(B, H)`` or ``(B, H, A)`` of all rows, in one crossing where its limits allow; equal to stepping.

        A row whose program raises has a reward of minus infinity there, and ends.
        """
        following, rewards, dones, _ = self._moved(self._runner.rollout, state, plans, rng)
        return ModelStep(CodeState(following, dones[:, -1].copy()), float32(rewards), dones)

    def step_one(
        self, state: CodeState, action: Any, *, rng: np.random.Generator
    ) -> tuple[CodeState, Any, float, bool]:
        """``step`` and ``decode`` of one row and one action, the short way: state, observation, reward, end."""
        if state.over[0]:
            return state, take_row(self.decode(state), 0), 0.0, True
        seed = int(self._seeds(rng, 1)[0]) if self._is_random else 0
        row = self._form.rows(state.values)[0]
        return self._one(*self._runner.step(row, action, seed=seed))

    def _one(self, row: Any, reward: float, done: bool) -> tuple[CodeState, Any, float, bool]:
        """What one row came to."""
        state = CodeState(checked(*self._form.read([row])), OVER if done else ALIVE)
        return state, take_row(self.decode(state), 0), reward, done

    def decode(self, state: CodeState) -> Any:
        """Observations ``(B, ...)`` of the observation space: the states, or what ``observe`` makes of them."""
        if isinstance(self._form, (Numbers, Trees)):
            return self._shown.shown(state.values)
        shown = self._called("observe", ((row,) for row in self._form.rows(state.values)))
        return self._shown.shown(checked(*self._shown.read(shown)))

    def save(self, folder: str | Path, *, provenance: dict[str, Any] | None = None) -> Path:
        """Write a checkpoint of the kind ``code``, which :func:`load` and the dreamed ids read; returns the folder."""
        return save_checkpoint(
            folder,
            kind="code",
            config=config_of(self),
            start=self.start,
            provenance=provenance,
            program=self.program,
        )

    def close(self) -> None:
        """End the program's process; the model cannot be stepped any more."""
        self._runner.close()

    def __enter__(self) -> CodeWorldModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self._arguments,)

    def _name_actions(self, names: Any) -> None:
        """A name for each discrete action; no ``action_names`` at all where actions are continuous."""
        discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        if names is not None and (not discrete or len(names) != self.action_space.n):  # type: ignore[attr-defined]
            raise MismatchError(f"{len(names)} action names do not fit {self.action_space}")
        if discrete:
            self.action_names = names_of(self.action_space, names)

    def _check_start(self, start: StartFrames | None) -> None:
        if start is None:
            return
        if not fits(self.context_space, start.observations, 2):
            frames = described(start.observations, 2)
            raise MismatchError(
                f"the program reads {self.context_space}, the start frames are {frames}"
            )

    def _read_contract(self, contract: int | None) -> None:
        """Which contract it is, and what follows from it; ``ConfigError`` where the program does not have its methods."""
        has = self._runner.methods
        self._contract = contract or self._runner.contract or 1
        needed = CONTRACTS[self._contract]
        if missing := [name for name in needed if name not in has]:
            raise ConfigError(
                f"a program of contract {self._contract} has {', '.join(needed)} in class Environment; "
                f"this one has no {', '.join(missing)}"
            )
        if self._contract == 1 and self.context_space != self.observation_space:
            raise MismatchError(
                f"with contract 1 a context is an observation: {self.observation_space}, got context_space={self.context_space}"
            )
        self._form: StateForm = self._shown
        if self._contract == 2:
            self._form = Columns() if "step_batch" in has else PlainData()
        frames = 1 if self.start is None or self._contract == 1 else self.start.actions.shape[1] + 1
        self.context_length = frames
        if "render" in has:
            self.render = self._render
        self._is_random = "random" in self.program
        if is_vector(self._form) and not self._is_random:
            self.step_one = vector_step(self._runner, self._shown, self._one)  # type: ignore[method-assign, arg-type]

    def _seeds(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """A seed for each row; nothing is drawn for a program that cannot draw."""
        if not self._is_random:
            return np.zeros(count, np.uint32)
        return rng.integers(1 << 32, size=count, dtype=np.uint32)

    def _called(
        self, method: str, arguments: Iterable[tuple[Any, ...]], seeds: np.ndarray | None = None
    ) -> list[Any]:
        """What a method gives, row by row."""
        rows = list(arguments)
        seeds = np.zeros(len(rows), np.uint32) if seeds is None else seeds
        return [
            self._runner.call(method, *row, seed=seed)
            for row, seed in zip(rows, seeds.tolist(), strict=True)
        ]

    def _moved(
        self, move: Any, state: CodeState, actions: np.ndarray, rng: np.random.Generator
    ) -> tuple[Any, np.ndarray, np.ndarray, Mapping[int, Exception]]:
        """Values, rewards, ends and errors after a step ``(B,)`` or plans ``(B, H)`` of the rows that have not ended."""
        count, width = len(state.over), len(self.action_space.shape or ())
        seeds, alive = self._seeds(rng, count), np.flatnonzero(~state.over)
        shape = actions.shape[: actions.ndim - width]
        if not len(alive):
            return state.values, np.zeros(shape), np.ones(shape, bool), {}
        if len(alive) == count:
            return self._moved_alive(move, state.values, actions, seeds)
        values, given = take_rows(state.values, alive), actions[alive]
        live = self._moved_alive(move, values, given, seeds[alive])
        rewards, dones = np.zeros(shape), np.ones(shape, bool)
        rewards[alive], dones[alive] = live[1], live[2]
        errors = {int(alive[row]): error for row, error in live[3].items()}
        return put_rows(state.values, alive, live[0]), rewards, dones, errors

    def _moved_alive(
        self, move: Any, values: Any, actions: np.ndarray, seeds: np.ndarray
    ) -> tuple[Any, np.ndarray, np.ndarray, Mapping[int, Exception]]:
        rows = self._form.rows(values)
        if self._is_random:
            every = range(len(actions))
            parts = [move(rows[i : i + 1], actions[i : i + 1], seed=int(seeds[i])) for i in every]
            moved = joined(parts)
        else:
            moved = move(rows, actions)
        following, wrong = self._form.read(moved.states)
        if not wrong:
            return following, moved.rewards, moved.dones, moved.errors
        rewards, dones = moved.rewards.copy(), moved.dones.copy()
        last = (..., -1) if rewards.ndim == 2 else ()
        for row in wrong:
            rewards[(row, *last[1:])], dones[(row, *last[1:])] = -np.inf, True
        errors = {row: SandboxProgramError(text) for row, text in wrong.items()}
        return following, rewards, dones, {**errors, **moved.errors}

    def _render(self, state: CodeState) -> np.ndarray:
        """Pictures uint8 ``(B, H, W, 3)`` that the program draws."""
        return picture_rows(
            self._called("render", ((row,) for row in self._form.rows(state.values)))
        )


@dataclass(frozen=True)
class CodeOptions:
    """How the program of a checkpoint is run; ``unsafe_local_code``: in this process, with all that this process may do."""

    deadline_s: float = 2.0
    memory_mb: int = 1024
    unsafe_local_code: bool = False


def load(checkpoint: Checkpoint, **options: Any) -> CodeWorldModel:
    """The model of a checkpoint, run as :class:`CodeOptions` say."""
    run = with_changes(CodeOptions(), options, "the options of a code world model")
    arguments = arguments_of(checkpoint)
    if run.unsafe_local_code:
        arguments["program"] = LocalProgram(arguments["program"])
    return CodeWorldModel(**arguments, deadline_s=run.deadline_s, memory_mb=run.memory_mb)


def _remade(arguments: dict[str, Any]) -> CodeWorldModel:
    return CodeWorldModel(**arguments)

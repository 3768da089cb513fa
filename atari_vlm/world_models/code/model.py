"""A program as a world model: what a language model wrote, run in a sandbox behind the ``WorldModel`` protocol.

Contract 1, whose state is the observation::

    class Environment:
        def set_state(self, state): ...
        def step(self, action): ...                    # -> (state, reward, done)

It may bring a ``render`` as below: then contexts may be of another space than what is shown, whose states they are (a table of
objects), and what is shown is what it draws.

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

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm._lazy import computed_once
from atari_vlm.actions import check_action_space, random_actions
from atari_vlm.errors import (
    ConfigError,
    MismatchError,
    SandboxProgramError,
    UnknownNameError,
    check_count,
)
from atari_vlm.settings import with_changes
from atari_vlm.space_trees import described, fits, is_rgb
from atari_vlm.trees import map_leaves, take_row, take_rows
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.checkpoint import REWARD_TRANSFORMS, Checkpoint, save_checkpoint
from atari_vlm.world_models.code.checking import check_program
from atari_vlm.world_models.code.checkpoint import arguments_of, config_of, names_of
from atari_vlm.world_models.code.model_lean import is_vector, vector_step
from atari_vlm.world_models.code.model_rows import ProgramRows, contract_of
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

_TRIED = 16  # steps in which faults are looked for


class CodeWorldModel:
    """The program ``program`` as a :class:`~atari_vlm.world_models.base.WorldModel`; its worker lives until :meth:`close`.

    Args:
        program: its text, or one that is loaded already (``Sandbox``, ``LocalProgram``), which is closed with the model.
        observation_space: what ``decode`` shows; ``Box``, ``Discrete``, ``MultiDiscrete``, ``MultiBinary``, ``Tuple``, ``Dict``.
        action_space: one that :mod:`atari_vlm.actions` takes.
        context_space: what contexts are of; by default the observation space, and with contract 1 another one only where the
            program draws the observations.
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
        if start is not None:
            self._check_context(start.observations, "the start frames are")
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

    @computed_once
    def faults(self) -> tuple[str, ...]:
        """What :func:`~atari_vlm.world_models.code.check_program` finds in steps from the start frames; without them nothing."""
        if self.start is None:
            return ()
        rng = np.random.default_rng(0)
        first = take_rows(
            (self.start.observations, self.start.actions), range(min(8, len(self.start.actions)))
        )
        states = self._form.rows(self.init(*first, rng=rng).values)
        actions = random_actions(self.action_space, (_TRIED,), rng)
        return check_program(self.program, states=list(states), actions=[plain(a) for a in actions])

    def init(
        self, observations: Any, actions: np.ndarray, *, rng: np.random.Generator
    ) -> CodeState:
        """States after contexts ``(B, T, ...)`` of the context space: their last observation, or what ``reset`` makes of all."""
        self._check_context(observations, "a context holds")
        count = len(actions)
        if self._contract == 1:
            assert isinstance(self._form, (Numbers, Trees))
            values = self._form.kept(map_leaves(lambda leaf: leaf[:, -1], observations))
        else:
            contexts = self._contexts.kept(observations)
            rows = [(map_leaves(plain, take_row(contexts, i)), actions[i]) for i in range(count)]
            values = self._rows.reset(rows, rng)
        return CodeState(values, np.zeros(count, bool))

    def step(
        self, state: CodeState, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[CodeState]:
        """One step of every row that has not ended; ``SandboxProgramError`` where the program raises in one of them."""
        moved = self._rows.step(state, action, rng)
        for row, error in moved.errors.items():
            raise type(error)(f"row {row}: {error}" if len(action) > 1 else str(error))
        following = CodeState(moved.values, moved.dones)
        return ModelStep(following, float32(moved.rewards), moved.dones.copy())

    def rollout(
        self, state: CodeState, plans: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[CodeState]:
        """Plans ``(B, H)`` or ``(B, H, A)`` of all rows, in one crossing where its limits allow; equal to stepping.

        A row whose program raises has a reward of minus infinity there, and ends.
        """
        moved = self._rows.rollout(state, plans, rng)
        following = CodeState(moved.values, moved.dones[:, -1].copy())
        return ModelStep(following, float32(moved.rewards), moved.dones)

    def step_one(
        self, state: CodeState, action: Any, *, rng: np.random.Generator
    ) -> tuple[CodeState, Any, float, bool]:
        """``step`` and ``decode`` of one row and one action, the short way: state, observation, reward, end."""
        if state.over[0]:
            return state, take_row(self.decode(state), 0), 0.0, True
        row, (seed,) = self._form.rows(state.values)[0], self._rows.seeds(rng, 1)
        return self._one(*self._runner.step(row, action, seed=seed))

    def _one(self, row: Any, reward: float, done: bool) -> tuple[CodeState, Any, float, bool]:
        """What one row came to."""
        state = CodeState(checked(*self._form.read([row])), OVER if done else ALIVE)
        return state, take_row(self.decode(state), 0), reward, done

    def decode(self, state: CodeState) -> Any:
        """Observations ``(B, ...)`` of the observation space: the states, or what ``observe`` or ``render`` makes of them."""
        if self._drawn:
            return self._render(state)
        if isinstance(self._form, (Numbers, Trees)):
            return self._shown.shown(state.values)
        shown = self._rows.call("observe", ((row,) for row in self._form.rows(state.values)))
        return self._shown.shown(checked(*self._shown.read(shown)))

    def save(self, folder: str | Path, *, provenance: dict[str, Any] | None = None) -> Path:
        """Write a checkpoint of the kind ``code``, which :func:`load` and the dreamed ids read; returns the folder.

        Its provenance names the program's :attr:`faults`, where the program runs in the sandbox.
        """
        held = isinstance(self._runner, Sandbox)
        found = {"faults": list(self.faults)} if held else {}
        return save_checkpoint(
            folder,
            kind="code",
            config=config_of(self),
            start=self.start,
            provenance={**found, **(provenance or {})},
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
        return functools.partial(CodeWorldModel, **self._arguments), ()

    def _name_actions(self, names: Any) -> None:
        """A name for each discrete action; no ``action_names`` at all where actions are continuous."""
        discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        if names is not None and (not discrete or len(names) != self.action_space.n):  # type: ignore[attr-defined]
            raise MismatchError(f"{len(names)} action names do not fit {self.action_space}")
        if discrete:
            self.action_names = names_of(self.action_space, names)

    def _check_context(self, observations: Any, told: str) -> None:
        if not fits(self.context_space, observations, 2):
            shown = described(observations, 2)
            raise MismatchError(f"the program reads {self.context_space}, {told} {shown}")

    def _read_contract(self, contract: int | None) -> None:
        """Which contract it is, and what follows from it."""
        self._contract, has = contract_of(self._runner, contract), self._runner.methods
        self._drawn = self._contract == 1 and self.context_space != self.observation_space
        if self._drawn and not ("render" in has and is_rgb(self.observation_space)):
            raise MismatchError(
                f"with contract 1 a context is an observation: {self.observation_space}, got context_space={self.context_space}; "
                "only a program with render shows other ones, pictures"
            )
        self._form: StateForm = self._contexts
        if self._contract == 2:
            self._form = Columns() if "step_batch" in has else PlainData()
        frames = 1 if self.start is None or self._contract == 1 else self.start.actions.shape[1] + 1
        self.context_length = frames
        if "render" in has:
            self.render = self._render
        self._rows = ProgramRows(self._runner, self._form, len(self.action_space.shape or ()))
        if is_vector(self._form) and not (self._drawn or self._rows.is_random):
            self.step_one = vector_step(self._runner, self._shown, self._one)  # type: ignore[method-assign, arg-type]

    def _render(self, state: CodeState) -> np.ndarray:
        """Pictures uint8 ``(B, H, W, 3)`` that the program draws."""
        drawn = picture_rows(self._rows.drawn(self._form.rows(state.values)))
        shape = self.observation_space.shape
        if self._drawn and drawn.shape[1:] != shape:
            raise SandboxProgramError(f"the program shows {shape}, it drew {drawn.shape[1:]}")
        return drawn


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

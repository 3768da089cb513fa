"""Episodes of play as arrays: the one record that is kept, cut out of a replay, written, read, dreamed and shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.actions import check_action_space
from atari_vlm.errors import ConfigError, MismatchError, check_positive
from atari_vlm.experience.replay import FOLLOWED, Column, Replay
from atari_vlm.world_models.seeing import as_seen

KINDS = ("train", "test", "imagination")
IMAGE = "image"


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of T steps, or a piece of one.

    ``inputs``: what was observed, by name, each ``(T + 1, ...)``, or ``(T, ...)`` where what followed the last step was not kept;
    ``image`` are uint8 pictures ``(H, W, 3)``. ``actions``: executed on them, int64 ``(T,)``, or int64 or float32 ``(T, A)``.
    ``rewards``: floats ``(T,)`` that float32 can hold. ``terminated``, ``truncated`` (at the last step alone) and
    ``lost_life``: bool ``(T,)``. ``kind`` is one of ``KINDS`` or ``""``. Raises ``MismatchError`` for anything else.
    """

    inputs: Mapping[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    lost_life: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))
    _: KW_ONLY
    action_names: tuple[str, ...] = ()
    name: str = ""
    kind: str = ""
    seed: int | None = None

    def __post_init__(self) -> None:
        if not len(self.lost_life):
            object.__setattr__(self, "lost_life", np.zeros(len(self.actions), np.bool_))
        counts = {len(values) for values in self.inputs.values()}
        if len(counts) != 1 or not counts <= {len(self), len(self) + 1}:
            raise MismatchError(
                f"{len(self)} steps have as many observations or one more, got {sorted(counts)}"
            )
        check_actions(self.actions)
        check_rewards(self.rewards)
        for name in ("rewards", "terminated", "truncated", "lost_life"):
            values = getattr(self, name)
            if len(values) != len(self) or (
                name != "rewards" and (values.dtype != np.bool_ or values.ndim != 1)
            ):
                raise MismatchError(
                    f"{name} of {len(self)} steps are {values.dtype} {values.shape}"
                )
        if (self.terminated | self.truncated)[:-1].any():
            raise MismatchError("an episode has its end at its last step")

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def pictures(self) -> np.ndarray:
        """uint8 ``(T + 1, H, W, 3)``, or ``(T, H, W, 3)``; ``MismatchError`` where no pictures were observed."""
        if IMAGE not in self.inputs:
            raise MismatchError(f"an episode of {', '.join(self.inputs)} has no pictures")
        return self.inputs[IMAGE]

    def first(self, steps: int) -> Episode:
        """Its beginning, with the observation after the last step if there is one."""
        names = ("actions", "rewards", "terminated", "truncated", "lost_life")
        columns = {name: getattr(self, name)[:steps] for name in names}
        return replace(
            self,
            inputs={name: values[: steps + 1] for name, values in self.inputs.items()},
            **columns,
        )

    def with_last(self) -> Episode:
        """With an observation after the last step: where it was not kept, the one before it stands for it."""
        missing = {name: len(self) + 1 - len(values) for name, values in self.inputs.items()}
        inputs = {
            name: np.concatenate([values, values[-1:].repeat(missing[name], axis=0)])
            if missing[name]
            else values
            for name, values in self.inputs.items()
        }
        return replace(self, inputs=inputs)

    def after(self, t: int) -> dict[str, np.ndarray] | None:
        """What was observed after step ``t``, where that was kept."""
        kept = all(len(values) > t + 1 for values in self.inputs.values())
        return {name: values[t + 1] for name, values in self.inputs.items()} if kept else None

    def steps(self) -> Iterator[dict[str, Any]]:
        """Each step as a replay takes it."""
        columns = {
            "action": self.actions,
            "reward": self.rewards,
            "terminated": self.terminated,
            "truncated": self.truncated,
        }
        for t in range(len(self)):
            yield {name: values[t] for name, values in {**self.inputs, **columns}.items()}


def check_actions(actions: np.ndarray) -> None:
    """Raise ``MismatchError`` unless these are actions of some space: int64 ``(T,)`` or ``(T, A)``, or finite float32
    ``(T, A)``.
    """
    whole = actions.dtype == np.int64 and actions.ndim in (1, 2)
    if not whole and not (
        actions.dtype == np.float32 and actions.ndim == 2 and np.isfinite(actions).all()
    ):
        raise MismatchError(
            f"actions are int64 (T,) or finite float32 (T, A), got {actions.dtype} {actions.shape}"
        )


def check_rewards(rewards: np.ndarray) -> None:
    """Raise ``MismatchError``, with step and value, unless these are floats ``(T,)`` that float32 can hold."""
    if rewards.dtype.kind != "f" or rewards.ndim != 1:
        raise MismatchError(f"rewards are real numbers (T,), got {rewards.dtype} {rewards.shape}")
    with np.errstate(over="ignore"):
        lost = np.flatnonzero(~np.isfinite(rewards.astype(np.float32)))
    if len(lost):
        raise MismatchError(
            f"the reward of step {lost[0]} is {rewards[lost[0]]!s}: no number that float32 can hold"
        )


def as_pictures(values: np.ndarray, what: str) -> np.ndarray:
    """RGB pictures uint8 ``(N, H, W, 3)`` from these or gray ones; ``ConfigError`` for anything else."""
    gray = values[..., None] if values.ndim == 3 else values
    if values.dtype != np.uint8 or gray.ndim != 4 or gray.shape[-1] not in (1, 3):
        raise ConfigError(
            f"{what} are pictures uint8 (N, H, W, 3) or gray (N, H, W), got {values.dtype} {values.shape}"
        )
    return np.broadcast_to(gray, (*gray.shape[:3], 3))


@dataclass(frozen=True, eq=False)
class DataSet:
    """Recorded play to learn from: episodes of one game, of one step at least, and its actions.

    ``action_names`` of numbered actions are as many as these; others have none. ``frame_skip``: frames of the game that a step
    took; a model that learned from it fits a game of as many.
    """

    episodes: Sequence[Episode]
    action_space: gymnasium.Space[Any]
    action_names: tuple[str, ...] = ()
    frame_skip: int = 1

    def __post_init__(self) -> None:
        check_positive(frame_skip=self.frame_skip)
        space = check_action_space(self.action_space, "the data set")
        if isinstance(space, Discrete) and len(self.action_names) != space.n:
            raise MismatchError(f"{space} has {len(self.action_names)} names of actions")
        if not sum(map(len, self.episodes)):
            raise ConfigError("a data set of no steps")
        shapes = {
            tuple((name, *values.shape[1:]) for name, values in each.inputs.items())
            for each in self.episodes
        }
        if len(shapes) != 1:
            raise MismatchError(
                f"the episodes of a data set show the same, got {sorted(map(str, shapes))}"
            )

    @property
    def num_steps(self) -> int:
        """Steps of all episodes."""
        return sum(map(len, self.episodes))

    @property
    def num_actions(self) -> int:
        """How many actions there are; ``MismatchError`` where they are not numbered."""
        if not isinstance(self.action_space, Discrete):
            raise MismatchError(
                f"numbered actions are needed, the data set has {self.action_space}"
            )
        return int(self.action_space.n)

    @property
    def inputs(self) -> dict[str, Column]:
        """What it shows, as columns."""
        return columns_of(self.episodes[0])


def columns_of(episode: Episode) -> dict[str, Column]:
    """The columns of a replay that holds what such an episode shows."""
    return {
        name: Column(values.shape[1:], values.dtype.name, on_disk=name == IMAGE)
        for name, values in episode.inputs.items()
    }


def fill_replay(replay: Replay, data: DataSet) -> None:
    """Add all episodes, pictures brought to the replay's size; one without an end of its own is closed as truncated."""
    wanted = [
        name
        for name, column in replay.columns.items()
        if name not in (*FOLLOWED, "action") and not column.written_back
    ]
    shape = replay.columns[IMAGE].shape if IMAGE in wanted else ()
    space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
    if missing := [name for name in wanted if name not in data.inputs]:
        raise MismatchError(
            f"the data set shows {', '.join(data.inputs)}; {', '.join(missing)} is needed"
        )

    def read(shown: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        taken = {name: shown[name] for name in wanted}
        if IMAGE in wanted:
            taken[IMAGE] = as_seen(taken[IMAGE], space, "the data set")
        return taken

    for episode in data.episodes:
        for t, step in enumerate(episode.steps()):
            shown, after = {name: step.pop(name) for name in episode.inputs}, episode.after(t)
            replay.add({**step, **read(shown)}, after=read(after) if after else None)
        replay.stop_episode()


def as_replay(episodes: Sequence[Episode], *, arrivals: bool = False) -> Replay:
    """A replay of their steps, labelled as in training: a lost life ends an episode."""
    actions = episodes[0].actions
    columns = {**columns_of(episodes[0]), "action": Column(actions.shape[1:], actions.dtype.name)}
    steps = sum(map(len, episodes))
    replay = Replay(columns, (2 * steps if arrivals else steps) + 1, arrivals=arrivals)
    for episode in episodes:
        for t, step in enumerate(episode.steps()):
            ends = step["terminated"] or episode.lost_life[t]
            replay.add({**step, "terminated": ends}, after=episode.after(t))
        replay.stop_episode()
    return replay


class ReplayEpisodes(Sequence[Episode]):
    """Everything a replay keeps, oldest first, each episode read when it is asked for.

    With ``copied`` false its arrays are views of the replay, of files and pages not read yet, where they lie together.
    """

    def __init__(self, replay: Replay, action_names: tuple[str, ...] = (), *, copied: bool = True):
        self._replay, self._names = replay, action_names
        self._read = replay.read if copied else replay.view
        self._bounds = list(zip(*(bound.tolist() for bound in replay.bounds()), strict=True))

    def __len__(self) -> int:
        return len(self._bounds)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(len(self))[index]]
        slots = self._replay.slots(np.arange(*self._bounds[index]))
        columns = {
            name: column for name, column in self._replay.columns.items() if not column.written_back
        }
        kept = {name: self._read(name, slots) for name in columns}
        action, *followed = (kept.pop(name) for name in ("action", *FOLLOWED))
        if self._replay.arrivals and (followed[1][-1] or followed[2][-1]):
            action, followed = action[:-1], [followed[0][:-1], *(ends[1:] for ends in followed[1:])]
        return Episode(kept, action, *followed, action_names=self._names)


def newest_episodes(replay: Replay, count: int, steps: int) -> list[Episode]:
    """The last ``count`` ended episodes of a replay, newest last, of each its first ``steps`` steps."""
    lasts = replay.slots(replay.bounds()[1] - 1)
    ended = np.flatnonzero(replay.read("terminated", lasts) | replay.read("truncated", lasts))
    episodes = ReplayEpisodes(replay)
    return [
        episodes[index].first(steps)
        for index in ended[len(ended) - min(count, len(ended)) :].tolist()
    ]

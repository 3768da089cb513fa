"""Steps of real play, for learning a world model: named columns of any shape and type, pictures in files, the rest in RAM.

Step t of an episode is what was observed, the action that was *executed* on it, and what followed (reward, terminated,
truncated). Each environment's steps lie in a ring of its own; the oldest episodes give way as a whole. Truncation is only where
an episode stops: it is no label that a model learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import MismatchError, RunError, reading
from atari_vlm.experience.columns import Column
from atari_vlm.experience.rings import PER_ENV, Rings
from atari_vlm.experience.segments import Segments, draw, stop_after
from atari_vlm.experience.store import Store, restore_column

FOLLOWED = {
    "reward": Column((), "float32"),
    "terminated": Column((), "bool"),
    "truncated": Column((), "bool"),
}


def picture_columns(shape: tuple[int, ...]) -> dict[str, Column]:
    """Columns of a game that shows uint8 pictures of this shape and takes numbered actions."""
    return {"image": Column(shape, "uint8", on_disk=True), "action": Column((), "int64")}


class Replay:
    """``capacity`` steps (an episode at least): ``columns``, and beside them what followed each step.

    ``reserve`` further slots let a run be killed at any point: steps added since :meth:`saved` never overwrite a step that the
    last checkpoint still knows. ``folder`` holds the files of columns on disk (``<name>.<type>``; pictures in ``frames.u8``);
    without one they are in RAM. ``num_envs`` environments share capacity and reserve equally. With ``arrivals`` an ended episode
    has one row more, for what was seen after its last step: that row has the end, no reward, and the action before it.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        capacity: int,
        *,
        reserve: int = 0,
        folder: Path | None = None,
        num_envs: int = 1,
        arrivals: bool = False,
    ):
        self.columns, self.arrivals = {**columns, **FOLLOWED}, arrivals
        self._rings = Rings(num_envs, capacity, reserve)
        self.serial = np.full(
            self.num_slots, -1, np.int64
        )  # position of the step that a slot holds
        self._priority = np.zeros(self.num_slots, np.float32)
        self._highest = np.float32(1.0)
        self._store = Store(self.columns, self.num_slots, folder)

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that a game shows: not what was done, what followed it, and what a learner keeps."""
        known = {*FOLLOWED, "action"}
        return tuple(n for n, c in self.columns.items() if n not in known and not c.written_back)

    def __len__(self) -> int:
        """Steps that are kept."""
        return len(self._rings)

    @property
    def num_slots(self) -> int:
        """Slots are 0 to this, exclusive."""
        return self._rings.num_slots

    @property
    def written(self) -> int:
        """Steps ever added."""
        return sum(self._rings.written)

    @property
    def written_by_env(self) -> list[int]:
        """Steps ever added, of each environment."""
        return self._rings.written

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions int64 ``(N,)`` of each kept episode's first step and of the one after its last; see :mod:`rings`."""
        return self._rings.bounds()

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of everything that each environment keeps, those that keep nothing left out."""
        return self._rings.spans()

    def env_of(self, position: Any) -> tuple[Any, Any]:
        """The environment of a step or of many, and their numbers in it."""
        return divmod(position, PER_ENV)

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each kept episode, int64; an environment's last may still be going on."""
        firsts, stops = self.bounds()
        return stops - firsts

    def slots(self, positions: np.ndarray) -> np.ndarray:
        """Where steps lie."""
        return self._rings.slots(positions)

    def newest(self, count: int, env: int = 0) -> np.ndarray:
        """Slots of the last ``count`` steps of an environment, oldest first."""
        return self._rings.newest(count, env)

    def kept(self) -> np.ndarray:
        """Slots of all kept steps, oldest first, one environment after the other."""
        return self._rings.kept()

    def add(
        self, step: Mapping[str, Any], env: int = 0, after: Mapping[str, Any] | None = None
    ) -> None:
        """Copy in one step: every column that is not written back. The first one after an end begins a new episode.

        ``after`` is what was seen after it, of which a replay with arrivals keeps that after an end; where it is not known,
        what was seen before the step stands for it.

        Raises ``MismatchError`` for values that are not of their columns, ``StorageError`` when the disk has no room, and
        ``RunError`` when a checkpoint's steps would be overwritten and when one episode outgrows the replay.
        """
        if self.arrivals and (step["terminated"] or step["truncated"]):
            self.add_row({**step, "terminated": False, "truncated": False}, env)
            step = {**step, **(after or {}), "reward": 0.0}
        self.add_row(step, env)

    def add_row(self, step: Mapping[str, Any], env: int = 0) -> None:
        """Copy in one row as it is; errors as of :meth:`add`."""
        values = self._checked(step)
        self._store.reserve()
        position = self._rings.add(env)
        slot = int(self.slots(np.array(position)))
        self._store.put(slot, values)
        self.serial[slot] = position
        self._priority[slot] = self._highest
        if values["terminated"] or values["truncated"]:
            self._rings.close(env)

    def _checked(self, step: Mapping[str, Any]) -> dict[str, np.ndarray]:
        wanted = {name: column for name, column in self.columns.items() if not column.written_back}
        if step.keys() != wanted.keys():
            raise MismatchError(
                f"a step of this replay has {', '.join(wanted)}; got {', '.join(step)}"
            )
        number = self.written
        return {
            name: column.checked(step[name], f"{name} of step {number}")
            for name, column in wanted.items()
        }

    def stop_episode(self, env: int = 0) -> None:
        """End the episode that is going on without an end of its own: as a truncation."""
        if self._rings.close(env):
            self._store.arrays["truncated"][self.newest(1, env)] = True

    def read(self, name: str, slots: np.ndarray) -> np.ndarray:
        """A column's values, a copy ``(*slots.shape, *column.shape)``."""
        return self._store.read(name, slots)

    def view(self, name: str, slots: np.ndarray) -> np.ndarray:
        """The same, read-only and where the slots are neighbours no copy: not to be kept."""
        return self._store.view(name, slots)

    def write(self, name: str, slots: np.ndarray, values: np.ndarray) -> None:
        """Replace values of kept steps: what a learner keeps with them, or what :meth:`restore` could not know."""
        self._store.write(name, slots, values)

    def any_slots(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` slots drawn uniformly from the kept steps."""
        firsts, stops = self._rings.spans()
        return self.slots(draw(firsts, stops - firsts, count, rng))

    def segments(
        self,
        count: int,
        length: int,
        rng: np.random.Generator,
        *,
        least: int = 1,
        prioritised: float = 0.0,
        across_episodes: bool = False,
        begins: Sequence[int] | np.ndarray = (),
    ) -> Segments:
        """Segments that begin at a uniformly drawn step and are padded on the right, where their episode stops, or
        (``across_episodes``) only where the environment's steps do.

        Only steps with ``least`` steps from there to that stop begin one, except that an episode shorter than that has its
        first. The share ``prioritised`` of the rows is drawn in proportion to :meth:`set_priority` instead. The first rows begin
        at the positions ``begins``, where such are given.
        """
        spans = self._rings.spans()
        firsts, stops = spans if across_episodes else self.bounds()
        choices = np.maximum(stops - firsts - least + 1, 1)
        drawn = draw(firsts, choices, count, rng)
        favoured = round(prioritised * count)
        if favoured:
            candidates = np.repeat(firsts - np.cumsum(choices) + choices, choices) + np.arange(
                choices.sum()
            )
            weights = self._priority[self.slots(candidates)].astype(np.float64)
            drawn[:favoured] = rng.choice(candidates, favoured, p=weights / weights.sum())
        drawn[: len(begins)] = begins
        return self._cut(
            drawn[:, None] + np.arange(length), drawn, stop_after(drawn, firsts, stops)
        )

    def segments_at(self, begins: np.ndarray, length: int) -> Segments:
        """The segments of one episode each that begin at these positions, padded on the right."""
        return self._cut(
            begins[:, None] + np.arange(length), begins, stop_after(begins, *self.bounds())
        )

    def histories(self, count: int, length: int, rng: np.random.Generator) -> Segments:
        """Segments that *end* at a uniformly drawn step with at least one before it; padded on the left."""
        firsts, stops = self.bounds()
        stops = stops - self.arrivals  # nothing is done on arrival
        firsts, stops = firsts[stops - firsts >= 2], stops[stops - firsts >= 2]
        if not len(firsts):
            raise RunError("the replay buffer has no episode of two steps yet")
        lasts = draw(firsts + 1, stops - firsts - 1, count, rng)
        begins = firsts[np.searchsorted(firsts, lasts, side="right") - 1]
        return self._cut(lasts[:, None] + np.arange(1 - length, 1), begins, lasts + 1)

    def _cut(self, positions: np.ndarray, begins: np.ndarray, stops: np.ndarray) -> Segments:
        mask = (positions >= begins[:, None]) & (positions < stops[:, None])
        firsts = self.bounds()[0]
        at = np.searchsorted(firsts, positions).clip(max=len(firsts) - 1)
        is_first = mask & (firsts[at] == positions)
        return Segments(np.where(mask, self.slots(positions), 0), mask, is_first)

    def earlier(self, slots: np.ndarray) -> list[np.ndarray]:
        """For each of some kept steps ``(B,)`` the slots of its episode's steps before it, oldest first."""
        positions, firsts = self.serial[slots], self.bounds()[0]
        begins = firsts[np.searchsorted(firsts, positions, side="right") - 1]
        pairs = zip(begins.tolist(), positions.tolist(), strict=True)
        return [self.slots(np.arange(begin, position)) for begin, position in pairs]

    def set_priority(self, slots: np.ndarray, priority: np.ndarray) -> None:
        """Set how likely segments that begin at ``slots`` ``(B,)`` are drawn by priority; float ``(B,)`` >= 0."""
        self._priority[slots] = np.maximum(priority, 1e-6)
        self._highest = self._priority.max()

    def saved(self) -> None:
        """Make the files durable and note that a checkpoint of :meth:`arrays` is complete."""
        self._store.saved()
        self._rings.saved()

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything but what lies in files (of it a checksum a step), for a checkpoint."""
        arrivals = {"arrivals": np.ones(1, np.bool_)} if self.arrivals else {}
        return {**self._rings.arrays(), **self._slot_arrays(), **self._store.facts(), **arrivals}

    def _slot_arrays(self) -> dict[str, np.ndarray]:
        return {"serial": self.serial, **self._store.known(), "priority": self._priority}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`; ``RunError`` when they are of another replay, or the files not those that they know.

        What lies in a file of the process that saved them is left out where this replay has no folder.
        """
        with reading("the saved replay", RunError):
            for name, array in self._slot_arrays().items():
                if name in arrays or f"undo.{name}" not in arrays:
                    restore_column(name, array, arrays.get(name))
            self._highest = self._priority.max() or np.float32(1.0)
            self._rings.restore(arrays, self.serial)
            self._store.restore(arrays, self.kept(), self.serial)

"""Whole episodes of real play, for learning a world model: frames memory-mapped, everything else in RAM.

Step t of an episode is the frame that was seen, the action that was *executed* on it, and what followed (reward, terminated,
truncated). Steps lie in a ring of slots; the oldest episodes give way as a whole. Truncation is only where an episode stops:
it is no label that a model learns.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, RunError, check_positive

_COLUMNS = {"action": np.int64, "reward": np.float32, "terminated": np.bool_, "truncated": np.bool_}


@dataclass(frozen=True)
class Column:
    """What a step has under one name: ``shape`` and ``dtype`` of one value; ``on_disk`` where it is memory-mapped."""

    shape: tuple[int, ...]
    dtype: str
    on_disk: bool = False


@dataclass(frozen=True)
class ReplayConfig:
    """``capacity`` steps are kept (and one episode at least); frames are uint8 ``(frame_px, frame_px, 3)``.

    ``reserve`` further slots let a run be killed at any point: steps added since :meth:`ReplayBuffer.saved` never overwrite a
    step that the last checkpoint still knows.
    """

    capacity: int = 100_000
    frame_px: int = 64
    reserve: int = 0

    def __post_init__(self) -> None:
        check_positive(capacity=self.capacity, frame_px=self.frame_px)
        if self.reserve < 0:
            raise ConfigError(f"reserve must not be negative, got {self.reserve!r}")


@dataclass(frozen=True)
class Segments:
    """B pieces of T steps of one episode each: ``slots`` int64 ``(B, T)`` (0 where padded), ``mask`` bool ``(B, T)``."""

    slots: np.ndarray
    mask: np.ndarray


class ReplayBuffer:
    """A ring of steps. ``folder`` holds ``frames.u8`` (made if absent); without one the frames are in RAM."""

    def __init__(self, config: ReplayConfig, folder: Path | None = None):
        self.config = config
        self._slots = config.capacity + config.reserve
        self._frames = _frame_store(folder, (self._slots, config.frame_px, config.frame_px, 3))
        self._columns: dict[str, np.ndarray] = {name: np.zeros(self._slots, kind) for name, kind in _COLUMNS.items()}
        self.serial = np.full(self._slots, -1, np.int64)  # which step since the beginning a slot holds
        self._priority = np.zeros(self._slots, np.float32)
        self._starts: list[int] = []  # serial of each episode's first step, oldest first
        self._written = 0
        self._saved = 0
        self._open = False

    def __len__(self) -> int:
        """Steps that are kept."""
        return self._written - self._starts[0] if self._starts else 0

    @property
    def written(self) -> int:
        """Steps ever added."""
        return self._written

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each kept episode, int64, oldest first; the last may still be going on."""
        return np.diff([*self._starts, self._written]).astype(np.int64)

    def add(self, frame: np.ndarray, action: int, reward: float, terminated: bool, truncated: bool) -> None:
        """Append one step; the first one after an end begins a new episode.

        Raises ``RunError`` when a checkpoint's steps would be overwritten and when one episode outgrows the buffer.
        """
        if not self._open:
            self._starts.append(self._written)
        while len(self) >= self.config.capacity:
            if len(self._starts) == 1:
                raise RunError(f"one episode is longer than the replay buffer ({self.config.capacity} steps)")
            self._starts.pop(0)
        if self.config.reserve and self._written - self._saved >= self.config.reserve:
            raise RunError(f"more than {self.config.reserve} steps were added to the replay buffer since it was saved")
        slot = self._written % self._slots
        self._frames[slot] = frame
        for name, value in zip(_COLUMNS, (action, reward, terminated, truncated), strict=True):
            self._columns[name][slot] = value
        self.serial[slot], self._written = self._written, self._written + 1
        self._priority[slot] = self._priority.max() or 1.0
        self._open = not (terminated or truncated)

    def stop_episode(self) -> None:
        """End the episode that is going on without an end of its own: as a truncation."""
        if self._open:
            self._columns["truncated"][(self._written - 1) % self._slots] = True
            self._open = False

    def frames(self, slots: np.ndarray) -> np.ndarray:
        """Frames uint8 ``(*slots.shape, H, W, 3)``."""
        return np.asarray(self._frames[slots])

    def put_frames(self, slots: np.ndarray, frames: np.ndarray) -> None:
        """Replace the frames of steps that are there already: after :meth:`restore`, where the frames lie elsewhere."""
        self._frames[slots] = frames

    def column(self, name: str, slots: np.ndarray) -> np.ndarray:
        """``action`` int64, ``reward`` float32, ``terminated`` or ``truncated`` bool of some slots."""
        return self._columns[name][slots]

    def any_slots(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` slots drawn uniformly from the kept steps."""
        self._check_holds(1)
        return (self._starts[0] + rng.integers(len(self), size=count)) % self._slots

    def segments(
        self, count: int, length: int, rng: np.random.Generator, *, least: int = 1, prioritised: float = 0.0
    ) -> Segments:
        """Segments that begin at a uniformly drawn step and are padded on the right.

        Only steps with ``least`` steps from there to the end of their episode begin one, except that an episode shorter than
        that has its first. The share ``prioritised`` of the rows is drawn in proportion to :meth:`set_priority` instead.
        """
        self._check_holds(1)
        firsts, ends = self._bounds()
        choices = np.maximum(ends - firsts - least + 1, 1)
        begins = self._draw(firsts, choices, count, rng)
        favoured = round(prioritised * count)
        if favoured:
            candidates = np.repeat(firsts - np.cumsum(choices) + choices, choices) + np.arange(choices.sum())
            weights = self._priority[candidates % self._slots].astype(np.float64)
            begins[:favoured] = rng.choice(candidates, favoured, p=weights / weights.sum())
        stops = ends[np.searchsorted(firsts, begins, side="right") - 1]
        return self._cut(begins[:, None] + np.arange(length), begins, stops)

    def histories(self, count: int, length: int, rng: np.random.Generator) -> Segments:
        """Segments that *end* at a uniformly drawn step with at least one before it; padded on the left."""
        firsts, ends = self._bounds()
        firsts, ends = firsts[ends - firsts >= 2], ends[ends - firsts >= 2]
        if not len(firsts):
            raise RunError("the replay buffer has no episode of two steps yet")
        lasts = self._draw(firsts + 1, ends - firsts - 1, count, rng)
        begins = firsts[np.searchsorted(firsts, lasts, side="right") - 1]
        return self._cut(lasts[:, None] + np.arange(1 - length, 1), begins, lasts + 1)

    def set_priority(self, segments: Segments, priority: np.ndarray) -> None:
        """Set how likely each segment's first step is drawn by priority; float ``(B,)`` >= 0."""
        self._priority[segments.slots[:, 0]] = np.maximum(priority, 1e-6)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Serials of the first step of each episode, and of the one after its last."""
        firsts = np.array(self._starts, np.int64)
        return firsts, np.append(firsts[1:], self._written)

    @staticmethod
    def _draw(firsts: np.ndarray, choices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` serials: one of ``choices[i]`` consecutive ones from ``firsts[i]``, all equally likely."""
        upto = np.cumsum(choices)
        drawn = rng.integers(upto[-1], size=count)
        episode = np.searchsorted(upto, drawn, side="right")
        serials: np.ndarray = firsts[episode] + drawn - (upto[episode] - choices[episode])
        return serials

    def _cut(self, serials: np.ndarray, begins: np.ndarray, stops: np.ndarray) -> Segments:
        mask = (serials >= begins[:, None]) & (serials < stops[:, None])
        return Segments(np.where(mask, serials % self._slots, 0), mask)

    def _check_holds(self, steps: int) -> None:
        if len(self) < steps:
            raise RunError("the replay buffer is empty")

    def saved(self) -> None:
        """Make the frames durable and note that a checkpoint of :meth:`arrays` is complete."""
        if isinstance(self._frames, np.memmap):
            self._frames.flush()
        self._saved = self._written

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything but the frames, for a checkpoint."""
        cursor = np.array([self._written, int(self._open)], np.int64)
        kept = {"cursor": cursor, "starts": np.array(self._starts, np.int64), "serial": self.serial}
        return {**kept, **self._columns, "priority": self._priority}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`; ``RunError`` when they are of a buffer of another size."""
        if len(arrays["serial"]) != self._slots:
            raise RunError(f"the saved replay has {len(arrays['serial'])} slots, this one {self._slots}")
        self._written, self._open = int(arrays["cursor"][0]), bool(arrays["cursor"][1])
        self._starts, self._saved = arrays["starts"].tolist(), self._written
        self.serial[:], self._priority[:] = arrays["serial"], arrays["priority"]
        for name, column in self._columns.items():
            column[:] = arrays[name]


def _frame_store(folder: Path | None, shape: tuple[int, ...]) -> Any:
    if folder is None:
        return np.zeros(shape, np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    path, size = folder / "frames.u8", int(np.prod(shape))
    if path.exists() and path.stat().st_size != size:
        raise RunError(f"{path} has {path.stat().st_size} bytes, a replay of this size {size}")
    store = np.memmap(path, np.uint8, "r+" if path.exists() else "w+", shape=shape)
    if hasattr(mmap, "MADV_RANDOM"):
        store._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]
    return store

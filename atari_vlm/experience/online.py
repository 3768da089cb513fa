"""Fresh sequences before drawn ones: the online queue of DreamerV3's replay (Hafner et al. 2025, Nature 640, "Replay")."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from atari_vlm.errors import ConfigError, RunError, check_positive
from atari_vlm.experience.replay import Replay


class OnlineQueue:
    """Serves each stretch of ``length`` steps of every environment once, as soon as it is whole.

    Neighbouring stretches share ``overlap`` steps, and may cross the ends of episodes. What waits longer than
    the replay keeps it is passed over. ``Replay.segments(..., begins=queue.take(count))`` fills the rest of a
    batch with drawn ones. What was served belongs to a checkpoint: :meth:`arrays`.
    """

    def __init__(self, replay: Replay, length: int, overlap: int = 0):
        check_positive(length=length)
        if not 0 <= overlap < length:
            raise ConfigError(f"overlap is from 0 to below length {length}, got {overlap!r}")
        self._replay, self.length, self._stride = replay, length, length - overlap
        self._next = np.zeros(
            len(replay.written_by_env), np.int64
        )  # first step not served, by environment

    def waiting(self) -> np.ndarray:
        """Positions int64 ``(n,)`` of the first steps of stretches that were not served yet, the oldest first."""
        if not len(self._replay):
            return np.zeros(0, np.int64)
        stretches = [self._whole(*span) for span in zip(*self._replay.spans(), strict=True)]
        begins = np.concatenate(stretches)
        _, numbers = self._replay.env_of(begins)
        return np.asarray(begins[np.argsort(numbers, kind="stable")])

    def _whole(self, first: int, stop: int) -> np.ndarray:
        """Where the stretches begin that were not served yet, of an environment that keeps these positions."""
        env, number = self._replay.env_of(first)
        late = max(0, number - int(self._next[env]))
        begin = first - number + int(self._next[env]) + -(-late // self._stride) * self._stride
        return np.arange(begin, stop - self.length + 1, self._stride)

    def take(self, most: int, rank: int = 0, size: int = 1) -> np.ndarray:
        """Serve up to ``most`` waiting stretches, the oldest first: positions int64 ``(n,)``, for ``segments(begins=)``.

        Of ``size`` processes with one replay each takes its own.
        """
        served = self.waiting()[: most * size]
        env, number = self._replay.env_of(served)
        np.maximum.at(self._next, env, number + self._stride)
        return served[rank::size]

    def arrays(self) -> dict[str, np.ndarray]:
        """What was served, for a checkpoint."""
        return {"online": self._next.copy()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`; ``RunError`` where they are of another number of environments."""
        known = arrays["online"]
        if known.shape != self._next.shape:
            raise RunError(
                f"the saved queue is of {len(known)} environments, this one of {len(self._next)}"
            )
        self._next[:] = known

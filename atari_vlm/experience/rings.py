"""Which steps a replay keeps and where: a ring of slots for each environment, whole episodes, positions that name steps for ever.

A *position* is ``environment * 2**40`` plus the step's number in that environment, so that neighbours in time have neighbouring
positions. A *slot* is where a kept step lies now.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from atari_vlm.errors import ConfigError, RunError, check_positive

PER_ENV = 1 << 40


@dataclass
class _Ring:
    """One environment's steps: positions of each kept episode's first, of the step to come, and of that when last saved."""

    written: int
    saved: int
    starts: list[int] = field(default_factory=list)
    open: bool = False

    def __len__(self) -> int:
        return self.written - self.starts[0] if self.starts else 0


class Rings:
    """``num_envs`` rings that share ``capacity`` steps, and ``reserve`` slots for steps not saved yet, equally."""

    def __init__(self, num_envs: int, capacity: int, reserve: int):
        check_positive(num_envs=num_envs, capacity=capacity)
        check_positive(capacity_of_each_environment=capacity // num_envs)
        if reserve < 0:
            raise ConfigError(f"reserve must not be negative, got {reserve!r}")
        self.capacity, self.reserve = capacity // num_envs, -(-reserve // num_envs)
        self._each = self.capacity + self.reserve
        self.num_slots = self._each * num_envs
        self._rings = [_Ring(env * PER_ENV, env * PER_ENV) for env in range(num_envs)]

    def __len__(self) -> int:
        return sum(map(len, self._rings))

    @property
    def written(self) -> list[int]:
        """Steps ever added, of each environment."""
        return [ring.written % PER_ENV for ring in self._rings]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions int64 ``(N,)`` of the first step of each kept episode and of the one after its last, in order."""
        firsts = [ring.starts for ring in self._rings]
        stops = [[*ring.starts[1:], ring.written] for ring in self._rings if ring.starts]
        return _integers(firsts), _integers(stops)

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of everything an environment keeps; ``RunError`` where nothing is kept."""
        rings = [ring for ring in self._rings if len(ring)]
        if not rings:
            raise RunError("the replay buffer is empty")
        return _integers([[ring.starts[0] for ring in rings]]), _integers(
            [[ring.written for ring in rings]]
        )

    def slots(self, positions: np.ndarray) -> np.ndarray:
        """Where steps lie."""
        env, number = np.divmod(positions, PER_ENV)
        return np.asarray(env * self._each + number % self._each)

    def newest(self, count: int, env: int = 0) -> np.ndarray:
        """Slots of the last ``count`` steps of an environment, oldest first."""
        written = self._rings[env].written
        return self.slots(np.arange(written - count, written))

    def kept(self) -> np.ndarray:
        """Slots of all kept steps, oldest first, one environment after the other."""
        return np.concatenate([self.newest(len(ring), env) for env, ring in enumerate(self._rings)])

    def add(self, env: int) -> int:
        """The position of a new step, after old episodes have made room for it."""
        ring = self._rings[env]
        if not ring.open:
            ring.starts.append(ring.written)
        while len(ring) >= self.capacity:
            if len(ring.starts) == 1:
                raise RunError(
                    f"one episode is longer than the replay buffer ({self.capacity} steps)"
                )
            ring.starts.pop(0)
        if self.reserve and ring.written - ring.saved >= self.reserve:
            raise RunError(
                f"more than {self.reserve} steps were added to the replay buffer since it was saved"
            )
        ring.written += 1
        ring.open = True
        return ring.written - 1

    def close(self, env: int) -> bool:
        """The next step begins an episode; whether one was going on."""
        was_open, self._rings[env].open = self._rings[env].open, False
        return was_open

    def saved(self) -> None:
        """A checkpoint knows everything that is there now."""
        for ring in self._rings:
            ring.saved = ring.written

    def arrays(self) -> dict[str, np.ndarray]:
        """``cursor``: steps written and whether an episode goes on, environment by environment; ``starts``: positions."""
        cursor = [[ring.written % PER_ENV, int(ring.open)] for ring in self._rings]
        return {
            "cursor": _integers(cursor),
            "starts": _integers([ring.starts for ring in self._rings]),
        }

    def restore(self, arrays: Mapping[str, np.ndarray], serial: np.ndarray) -> None:
        """The inverse of :meth:`arrays`; ``serial`` ``(num_slots,)`` are the positions of what the slots hold."""
        cursor, starts = arrays["cursor"].reshape(-1, 2), arrays["starts"]
        if len(cursor) != len(self._rings):
            raise RunError(
                f"the saved replay is of {len(cursor)} environments, this one of {len(self._rings)}"
            )
        for env, (ring, (written, is_open)) in enumerate(
            zip(self._rings, cursor.tolist(), strict=True)
        ):
            ring.starts = starts[starts // PER_ENV == env].tolist()
            ring.written = ring.saved = env * PER_ENV + written
            ring.open = bool(is_open)
        fits = len(starts) == sum(len(ring.starts) for ring in self._rings) and all(
            0 <= len(ring) <= self._each and ring.starts == sorted(ring.starts)
            for ring in self._rings
        )
        if not fits or not np.array_equal(serial[self.kept()], self._positions()):
            raise RunError(
                "the saved replay does not fit together: its slots do not hold the steps that it names"
            )

    def _positions(self) -> np.ndarray:
        return np.concatenate(
            [np.arange(ring.written - len(ring), ring.written) for ring in self._rings]
        )


def _integers(rows: list[list[int]]) -> np.ndarray:
    return np.array(list(itertools.chain.from_iterable(rows)), np.int64)

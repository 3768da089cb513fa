"""What a worker records of its unit, shipped to the driver as it grows, and kept there in the journal of the run.

A record is shipped as the call that would have been made at home: ``("journal", "record_step", row)``. Shipping is a
conversation that the driver leads: every time it asks, everything that it was given before is in its journal. What may have
cost money (a reply of a unit that pays) and what ends an episode therefore waits until the driver has asked again; all else
goes along. A worker that is lost has lost what it had not shipped: the paid call in flight at most, and steps that are made
again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from atari_vlm.errors import RunError
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.journal_rows import CallRow, EpisodeRow, Phase, StepRow, step_values

Shipment = tuple[Literal["journal", "progress", "ended"], str, tuple[Any, ...]]


class Outbox:
    """What waits to be shipped. One thread fills it, another takes from it for the driver."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Shipment] = []
        self._urgent = False
        self._put = self._given = self._kept = 0

    def put(self, shipment: Shipment) -> None:
        """Ship with the next."""
        with self._changed:
            self._waiting.append(shipment)
            self._put += 1

    def put_now(self, shipment: Shipment, *, wait: bool = True) -> None:
        """Ship at once, and ``wait`` until the driver has it in its journal."""
        with self._changed:
            self.put(shipment)
            self._urgent = True
            number = self._put
            self._changed.notify_all()
            if wait:
                self._changed.wait_for(lambda: self._kept >= number)

    def take(self, patience_s: float) -> list[Shipment]:
        """What waits, as soon as some of it is urgent and after ``patience_s`` seconds at most; what was taken before is kept."""
        with self._changed:
            self._kept = self._given
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._urgent, patience_s)
            taken, self._waiting, self._urgent = self._waiting, [], False
            self._given += len(taken)
            return taken


@dataclass(frozen=True)
class Known:
    """What the journal holds of a unit when a worker begins or goes on with it. ``is_paid``: a reply may cost money."""

    journal_id: str
    path: Path
    episodes: Mapping[int, EpisodeRow] = field(default_factory=dict)
    steps: Mapping[int, list[StepRow]] = field(default_factory=dict)
    calls: Mapping[tuple[int, int], CallRow] = field(default_factory=dict)
    is_paid: bool = True


def known_of(
    journal: Journal, rows: Mapping[int, EpisodeRow], episodes: Iterable[int], is_paid: bool = True
) -> Known:
    """What ``journal`` holds of some episodes; ``rows`` are those of all that have begun."""
    begun = {number: rows[number] for number in episodes if number in rows}
    steps = {number: journal.steps(number) for number in begun}
    calls = {(c.task, c.call): c for number in begun for c in journal.calls(number)}
    return Known(journal.id, journal.path, begun, steps, calls, is_paid)


class UnitRecord:
    """The :class:`~atari_vlm.runs.record.Record` of a worker: what is known of its unit, and an outbox for what is new."""

    def __init__(self, known: Known, outbox: Outbox):
        self.id, self.path = known.journal_id, known.path
        self._known, self._outbox = known, outbox
        self._episodes = dict(known.episodes)

    def episodes(self) -> list[EpisodeRow]:
        """The unit's."""
        return [self._episodes[number] for number in sorted(self._episodes)]

    def steps(self, episode: int) -> list[StepRow]:
        """Those that were known when the unit came here."""
        return self._known.steps.get(episode, [])

    def call(self, task: int, call: int) -> CallRow | None:
        """Likewise."""
        return self._known.calls.get((task, call))

    def blob(self, sha: str) -> bytes:
        """Texts and pictures stay with the journal."""
        return f"(text {sha[:12]} of the journal)".encode()

    def begin_episode(self, episode: int, phase: Phase, seed: int) -> EpisodeRow:
        """Ship it where it is new."""
        if episode not in self._episodes:
            self._episodes[episode] = EpisodeRow(episode, phase, seed)
            self._ship("begin_episode", episode, phase, seed)
        return self._episodes[episode]

    def finish_episode(self, row: EpisodeRow) -> None:
        """Ship it, and wait until it is kept."""
        self._episodes[row.episode] = row
        self._outbox.put_now(("journal", "finish_episode", (row,)))

    def record_request(self, row: CallRow, blobs: Mapping[str, bytes]) -> None:
        """Ship it with what follows."""
        self._ship("record_request", row, dict(blobs))

    def record_reply(
        self, task: int, call: int, reply: Mapping[str, Any], *, cached: bool = False
    ) -> None:
        """Ship it; where it may have cost money, wait until it is kept."""
        arguments = (task, call, dict(reply), cached)
        if self._known.is_paid:
            self._outbox.put_now(("journal", "record_reply", arguments))
        else:
            self._ship("record_reply", *arguments)

    def record_step(self, row: StepRow) -> None:
        """Ship it where it is new; one that is known must be equal but for clocks."""
        known = self.steps(row.episode)
        if row.step >= len(known):
            self._ship("record_step", row)
        elif step_values(known[row.step])[:8] != step_values(row)[:8]:
            raise RunError(
                f"{self.path}: episode {row.episode} diverged at step {row.step}: recorded "
                f"(action, source, reward, terminated, truncated, info) {step_values(known[row.step])[2:8]}, now "
                f"{step_values(row)[2:8]}"
            )

    def _ship(self, name: str, *arguments: Any) -> None:
        self._outbox.put(("journal", name, arguments))


def keep(journal: Journal, name: str, arguments: tuple[Any, ...]) -> None:
    """Write into the journal what a worker shipped."""
    if name == "record_reply":
        task, call, reply, cached = arguments
        journal.record_reply(task, call, reply, cached=cached)
        return
    writers: dict[str, Callable[..., object]] = {
        "begin_episode": journal.begin_episode,
        "finish_episode": journal.finish_episode,
        "record_request": journal.record_request,
        "record_step": journal.record_step,
    }
    writers[name](*arguments)

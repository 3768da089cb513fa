"""The journal of a run: everything that was asked, answered, decided and done, in one SQLite file.

Written in this order: the *request* of a call, its *reply*, the *step* that followed (SQLite, WAL). A reply is on the disk
before anybody sees it (``synchronous=FULL``: it may have cost money); requests and steps follow with the next reply, because
they can be made again exactly. A run that dies at any point has therefore lost at most the replies of the calls in flight, and
whoever plays the same episodes again is served every reply that is here (:mod:`atari_vlm.runs.journal_vlm`). What is
written again must equal what is there; a difference raises :class:`RunError`, because then the run is not the same run. So does
damage (:mod:`atari_vlm.runs.journal_schema`), and a journal that lost something (:mod:`atari_vlm.runs.journal_mark`).

Texts (UTF-8) and pictures (PNG) are stored once each under the SHA-256 of their bytes. Only ``started_at`` and the latencies
inside replies and decisions are clocks; everything else is a function of the configuration and the replies.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm.errors import RunError
from atari_vlm.runs.journal_rows import (
    CallRow,
    EpisodeRow,
    Phase,
    StepRow,
    call_row,
    call_values,
    dumps,
    step_row_of,
    step_values,
)
from atari_vlm.runs.journal_schema import COLUMNS, digest_of, insert, typed_errors
from atari_vlm.runs.journal_search import SearchTables


class Journal(SearchTables):
    """Reads and writes one journal; safe to share between the threads of a process.

    One process writes at a time (the run folder's lock sees to that); any number may read with ``read_only=True``, also
    while the run goes on. A call belongs to a *task*: an episode, or a simulation of a search.
    """

    def __init__(self, path: str | Path, read_only: bool = False, *, noted_id: str | None = None):
        self._stored: set[str] = set()
        super().__init__(path, read_only, noted_id=noted_id)

    def episodes(self) -> list[EpisodeRow]:
        """All episodes in order of their number."""
        with self._snapshot():
            rows = self._rows(
                "episodes", "ORDER BY episode", make=lambda row: EpisodeRow(*row[:-1])
            )
            self._check_count("episodes", len(rows))
        return rows

    def steps(self, episode: int) -> list[StepRow]:
        """The steps of an episode in order."""
        with self._snapshot():
            rows = self._rows("steps", "WHERE episode = ? ORDER BY step", episode, make=step_row_of)
            self._check_episode(episode, [row.step for row in rows], "length")
        return rows

    def calls(self, task: int) -> list[CallRow]:
        """The calls of a task in order, unanswered ones included."""
        with self._snapshot():
            rows = self._rows("calls", "WHERE episode = ? ORDER BY call", task, make=call_row)
            numbers = [row.call for row in rows]
            self._check_simulation(task, numbers)
            self._check_episode(task, numbers, "calls")
        return rows

    def call(self, task: int, call: int) -> CallRow | None:
        """One call, or ``None`` if it was never begun."""
        rows = self._rows("calls", "WHERE episode = ? AND call = ?", task, call, make=call_row)
        return rows[0] if rows else None

    def replies(self, *, paid: bool = False) -> Iterator[dict[str, Any]]:
        """Every recorded answer, or only those that were asked for, in order of task and call."""
        for (task,) in self._plain("SELECT DISTINCT episode FROM calls ORDER BY episode"):
            yield from (
                row.reply
                for row in self.calls(task)
                if row.reply is not None and (row.paid or not paid)
            )

    def blob(self, sha: str) -> bytes:
        """The bytes stored under ``sha``; raise :class:`RunError` if they are missing or damaged."""
        rows = self._plain("SELECT data FROM blobs WHERE sha = ?", sha)
        if not rows or hashlib.sha256(rows[0][0]).hexdigest() != sha:
            raise RunError(f"{self.path}: blob {sha} is {'damaged' if rows else 'missing'}")
        return bytes(rows[0][0])

    def begin_episode(self, episode: int, phase: Phase, seed: int) -> EpisodeRow:
        """Record that an episode begins; when it is there already it must be the same one. Returns its row."""
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM episodes WHERE episode = ?", (episode,)).fetchone():
                self._note_count("episodes", self._own()["episodes"] + 1)
                insert(
                    db, "episodes", (episode, phase, seed, "running", None, None, None, None, None)
                )
            row = self._rows(
                "episodes",
                "WHERE episode = ?",
                episode,
                make=lambda values: EpisodeRow(*values[:-1]),
            )[0]
        if (row.phase, row.seed) != (phase, seed):
            raise RunError(
                f"{self.path}: episode {episode} was recorded as {row.phase} with seed {row.seed}, "
                f"and is now asked for as {phase} with seed {seed}: this is another run"
            )
        return row

    def finish_episode(self, row: EpisodeRow) -> None:
        """Record an episode's results."""
        with self._transaction() as db:
            self._finish(db, row)

    def _finish(self, db: sqlite3.Connection, row: EpisodeRow) -> None:
        numbers = [
            None if value is None else float(value)
            for value in (row.episode_return, row.fallback_rate, row.cost_usd)
        ]
        if not db.execute("SELECT 1 FROM episodes WHERE episode = ?", (row.episode,)).fetchone():
            self._note_count("episodes", self._own()["episodes"] + 1)
        (calls,) = db.execute(
            "SELECT count(*) FROM calls WHERE episode = ?", (row.episode,)
        ).fetchone()
        known = (row.episode, row.phase, row.seed, row.status)
        insert(db, "episodes", (*known, numbers[0], row.length, *numbers[1:], calls))

    def record_request(self, row: CallRow, blobs: Mapping[str, bytes]) -> None:
        """Record that a call is about to be made, with the texts and pictures that its request names."""
        new = {sha: data for sha, data in blobs.items() if sha not in self._stored}
        with self._transaction(durable=False) as db:
            db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", new.items())
            insert(db, "calls", (*call_values(row), None, row.started_at, 0))
        with self._lock:
            self._stored.update(new)

    def record_reply(
        self, task: int, call: int, reply: Mapping[str, Any], *, cached: bool = False
    ) -> None:
        """Record the answer to a call, and whether it came from a cache."""
        with self._lock:
            with self._transaction() as db:
                row = self._raw("calls", "WHERE episode = ? AND call = ?", task, call)[0]
                new = (*row[:6], dumps(reply), row[7], int(cached))
                db.execute(
                    "UPDATE calls SET reply = ?, cached = ?, digest = ? WHERE episode = ? AND call = ?",
                    (new[6], new[8], digest_of("calls", new), task, call),
                )
            self._answered += row[6] is None
            if self._mark is not None:
                self._mark.answered(self._answered)

    def record_step(self, row: StepRow) -> None:
        """Record a step; when it is there already it must be equal but for clocks."""
        values = step_values(row)
        with self._transaction(durable=False) as db:
            recorded = self._raw("steps", "WHERE episode = ? AND step = ?", row.episode, row.step)
            if not recorded:
                insert(db, "steps", values)
        if recorded and recorded[0][:8] != values[:8]:
            raise RunError(
                f"{self.path}: episode {row.episode} diverged at step {row.step}: recorded "
                f"(action, source, reward, terminated, truncated, info) {recorded[0][2:8]}, now {values[2:8]}"
            )

    def take_in(self, other: Journal, row: EpisodeRow) -> None:
        """Copy a finished episode of another journal with all that belongs to it, in one write; every row is checked.

        Nothing is done where it is here already; ``RunError`` where that is another one.
        """
        steps, calls = other.steps(row.episode), other.calls(row.episode)
        if self._holds(row, steps):
            return
        with typed_errors(other.path):
            named = {str(sha) for call in calls for _, parts in call.request for _, sha in parts}
            asked = [_whole_call(call) for call in calls]
            done = [step_values(step) for step in steps]
        with self._lock:
            with self._transaction() as db:
                for sha in sorted(named - self._stored):
                    db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (sha, other.blob(sha)))
                for values in asked:
                    insert(db, "calls", values)
                for values in done:
                    insert(db, "steps", values)
                self._finish(db, row)
            self._stored.update(named)
            self._answered += sum(call.reply is not None for call in calls)
            if self._mark is not None:
                self._mark.answered(self._answered)

    def _holds(self, row: EpisodeRow, steps: Sequence[StepRow]) -> bool:
        """Whether an episode is here, finished; ``RunError`` where it went otherwise, or goes on."""
        mine = self._rows(
            "episodes",
            "WHERE episode = ?",
            row.episode,
            make=lambda values: EpisodeRow(*values[:-1]),
        )
        if not mine:
            return False
        known = [step_values(step)[:8] for step in self.steps(row.episode)]
        if mine[0].status != "done" or known != [step_values(step)[:8] for step in steps]:
            raise RunError(f"{self.path} holds another episode {row.episode}, or a part of one")
        return True

    def _check_episode(self, episode: int, numbers: list[int], counted: str) -> None:
        """Calls and steps are numbered from 0 without a gap; a finished episode knows how many there are."""
        if self._version == 1:
            return
        columns = COLUMNS["episodes"]
        rows = self._rows(
            "episodes",
            "WHERE episode = ?",
            episode,
            make=lambda row: dict(zip(columns, row, strict=True)),
        )
        done = rows and rows[0]["status"] == "done"
        wanted = rows[0][counted] if done else None
        self._check_numbered(numbers, wanted, f"episode {episode}")


def _whole_call(call: CallRow) -> tuple[Any, ...]:
    """A call as it is stored, with its answer."""
    reply = None if call.reply is None else dumps(call.reply)
    return (*call_values(call), reply, call.started_at, int(call.cached))

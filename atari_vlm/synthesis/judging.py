"""How well a program predicts a buffer: the outcome of a call, with the mispredicted transitions that its writer is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.runs.journal_rows import dumps
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.records import Outcome
from atari_vlm.world_models.code.predicting import RowWorker
from atari_vlm.world_models.code.sandbox import check_text
from atari_vlm.world_models.code.scoring import ProgramScore, score_groups, worker_for

_MOST_EXAMPLES = 12  # kept of one program
_LONGEST_STATE = 400  # characters of a predicted state, beyond twice those of the true one
_LONGEST_HISTORY = 8  # steps before a counterexample that are shown


class ProgramJudge:
    """Scores programs on the feedback transitions, and on the held-out ones for the report alone.

    ``make`` makes the workers they run in.
    """

    def __init__(
        self,
        buffer: TransitionBuffer,
        config: SearchConfig,
        make: Callable[..., RowWorker] | None = None,
    ):
        self._buffer, self._config = buffer, config
        self._make = make or worker_for(config.unsafe_local_code)
        self._rows, self._held_out = split(len(buffer), config.held_out, config.seed)

    def __call__(self, program: str) -> Outcome:
        """Run the program on every transition. Raises ``SandboxUnavailableError`` where programs cannot be held.

        What cannot be a program at all (too long, NUL) counts as a reply without one, and is shown to nobody again.
        """
        try:
            check_text(program)
        except ConfigError as error:
            return Outcome(failure="no-code", error=str(error))
        score, other = self._scores(program)
        if score.bug:
            return Outcome(program, failure="bug", error=score.error or "")
        verified, examples = None, tuple(self._examples(score))
        if self._config.replay_verify:
            counter = self._counterexample(score) or self._counterexample(score, other)
            verified = counter is None
            examples = (*filter(None, (counter,)), *examples[self._config.feedback == "first" :])
        return Outcome(
            program=program,
            score=score.score,
            fields={"next_state": score.next_state, **score.fields},
            events={name: (event.count, event.recall) for name, event in score.events.items()},
            held_out=None if other is None else other.score,
            examples=tuple(
                json.loads(dumps(examples))
            ),  # as a journal gives them back: questions stay the same
            verified=verified,
        )

    def _scores(self, program: str) -> tuple[ProgramScore, ProgramScore | None]:
        """On the feedback transitions, and on those held out if there are any."""
        config = self._config
        score, *other = score_groups(
            program,
            self._buffer,
            [rows for rows in (self._rows, self._held_out) if len(rows)],
            scorer=config.scorer,
            deadline_s=config.deadline_s,
            make=self._make,
        )
        return score, other[0] if other else None

    def _examples(self, score: ProgramScore) -> Iterator[dict[str, Any]]:
        """The first mispredicted transition, or the first of each kind: which fields are wrong, and which reward was due."""
        seen = set()
        for at in _wrong_rows(score):
            row = int(self._rows[at])
            kind = (*_wrong_fields(score, at), float(self._buffer.rewards[row]))
            if kind not in seen:
                seen.add(kind)
                yield _example(self._buffer.row(row), score, at)
            if self._config.feedback == "first" or len(seen) == _MOST_EXAMPLES:
                return

    def _counterexample(
        self, score: ProgramScore, other: ProgramScore | None = None
    ) -> dict[str, Any] | None:
        """The mispredicted transition that the fewest steps of its episode lead to, with these steps.

        One that is held out is taken only where the feedback has none: a right program has to be right there too.
        """
        found = []
        for part, rows in ((score, self._rows), (other, self._held_out)):
            wrong = [] if part is None else _wrong_rows(part)
            found += [(self._age(int(rows[at])), int(rows[at]), part, at) for at in wrong]
        if not found:
            return None
        age, row, part, at = min(found, key=lambda each: each[:2])
        assert part is not None
        before = [self._buffer.row(row - back) for back in range(min(age, _LONGEST_HISTORY), 0, -1)]
        history = [(step["state"], step["action"]) for step in before]
        return {**_example(self._buffer.row(row), part, at), "history": history}

    def _age(self, row: int) -> int:
        """Steps of the episode before a row of the buffer."""
        starts = self._buffer.trajectory_starts
        return int(row - starts[np.searchsorted(starts, row, side="right") - 1])


def split(count: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for feedback and rows held out, int64 each in order; at least one is for feedback."""
    held = min(int(count * held_out), count - 1)
    order = np.random.RandomState(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def _wrong_rows(score: ProgramScore) -> list[int]:
    """Rows that are not all right; after a bug the one where it was met."""
    if score.bug:
        return [score.failing or 0]
    right = np.all(list(score.right.values()), axis=0)
    return [int(row) for row in np.flatnonzero(~right)]


def _wrong_fields(score: ProgramScore, at: int) -> list[str]:
    return [name for name, right in score.right.items() if not right[at]]


def _example(truth: dict[str, Any], score: ProgramScore, at: int) -> dict[str, Any]:
    """A transition and what was predicted of it, as plain data; ``at`` is its row in what was scored."""
    truth = {**truth, "done": truth["terminated"]}
    wanted = ("state", "action", "next_state", "reward", "done")
    said = score.prediction(at) or {"error": score.error or "it cannot be run"}
    if "next_state" in said:
        said["next_state"] = _bounded(said["next_state"], 2 * len(repr(truth["next_state"])))
    wrong = _wrong_fields(score, at) if score.right else ["it raises"]
    return {**{name: truth[name] for name in wanted}, "predicted": said, "wrong": wrong}


def _bounded(value: Any, usual: int) -> Any:
    """What a program predicted, or the beginning of its text where it is far longer than what is true."""
    text = repr(value)
    most = usual + _LONGEST_STATE
    return value if len(text) <= most else f"{text[:most]} ... ({len(text):,} characters)"

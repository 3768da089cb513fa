"""From answers to one row per agent and game, and the rows as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.evaluation.perception.answers import (
    Found,
    compare,
    is_correct,
    is_same,
    read_answer,
)
from atari_vlm.evaluation.perception.questions import Question
from atari_vlm.scores.tables import table_lines
from atari_vlm.types import Reply

COLUMNS = (
    "agent", "model", "game", "questions", "f1", "field_accuracy", "direction_accuracy", "direction_chance",
    "flip_rate", "decoy_echo", "failed", "cost_usd",
)  # fmt: skip
_FIELDS = ("count", "lives", "score")


@dataclass(frozen=True)
class Answered:
    """A question with the reply that an agent gave; ``answer`` is ``None`` where the reply cannot be read."""

    agent: str
    question: Question
    reply: Reply
    answer: Any
    correct: bool

    @classmethod
    def of(cls, agent: str, question: Question, reply: Reply) -> Answered:
        """Read the reply."""
        answer = read_answer(reply.text, question)
        return cls(agent, question, reply, answer, is_correct(question, answer))

    def as_dict(self, digests: Sequence[str]) -> dict[str, Any]:
        """Plain data: a line of ``questions.jsonl``; ``digests`` are the SHA-256 of the pictures' bytes as sent."""
        asked = self.question
        return {
            "id": asked.id,
            "agent": self.agent,
            "game": asked.game,
            "seed": asked.seed,
            "kind": asked.kind,
            "variant": asked.variant,
            "pair": asked.pair,
            "prompt": asked.prompt,
            "pictures": list(digests),
            "picture_size": asked.picture_size,
            "choices": list(asked.choices) or None,
            "truth": asked.truth,
            "decoy": asked.decoy,
            "reply": self.reply.text,
            "answer": self.answer,
            "correct": self.correct,
        }


def row_of(answered: Sequence[Answered]) -> dict[str, Any]:
    """The row of one agent on one game, from all its answers there; ``None`` for a share of nothing."""
    plain = [one for one in answered if one.question.variant == "plain"]
    by_id = {one.question.id: one for one in plain}
    again = [one for one in answered if one.question.variant == "again"]
    decoys = [one for one in answered if one.question.variant == "decoy"]
    moving = [one for one in plain if one.question.kind == "direction"]
    models = dict.fromkeys(one.reply.model for one in answered if one.reply.model)
    return {
        "agent": answered[0].agent,
        "model": " | ".join(models),
        "game": answered[0].question.game,
        "questions": len(answered),
        "f1": _f1(one for one in plain if one.question.kind == "objects"),
        "field_accuracy": _share([one.correct for one in plain if one.question.kind in _FIELDS]),
        "direction_accuracy": _share([one.correct for one in moving]),
        "direction_chance": _chance([one.question.truth for one in moving]),
        "flip_rate": _share(
            [not is_same(one.answer, by_id[str(one.question.pair)].answer) for one in again]
        ),
        "decoy_echo": _share([_echoes(one) for one in decoys]),
        "failed": sum(one.answer is None for one in answered),
        "cost_usd": _cost(one.reply for one in answered),
    }


def _f1(answered: Iterable[Answered]) -> float | None:
    found = [compare(one.question.truth, one.answer) for one in answered]
    return Found(*(sum(part) for part in zip(*found, strict=True))).f1 if found else None


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _chance(truths: Sequence[str]) -> float | None:
    """What the best constant answer reaches."""
    if not truths:
        return None
    return max(truths.count(way) for way in set(truths)) / len(truths)


def _echoes(one: Answered) -> bool:
    return one.answer is not None and is_same(one.answer, one.question.decoy)


def _cost(replies: Iterable[Reply]) -> float | None:
    """Dollars; what came from a cache was not spent, and one unknown price makes all unknown."""
    costs = [0.0 if reply.cached else reply.cost_usd for reply in replies]
    known = [cost for cost in costs if cost is not None]
    return float(sum(known)) if len(known) == len(costs) else None


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """A line a row; an empty cell where there is no number, JSON where a cell holds a list."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return table.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (list, dict, bool)) else value


def to_markdown(rows: Sequence[Mapping[str, Any]], conditions: Sequence[tuple[str, str]]) -> str:
    """The table and what it rests on."""
    cells = [[_rounded(row[column]) for column in COLUMNS] for row in rows]
    return "\n".join(
        [
            "# Perception",
            "",
            *table_lines([column.replace("_", " ") for column in COLUMNS], cells),
            "",
            "f1: boxes of plain pictures, intersection over union at least 0.5. field accuracy: counts, lives and points. "
            "direction chance: the best constant answer. flip rate: equal questions answered differently. decoy echo: "
            "wrong examples repeated as the answer. failed: replies that could not be read; they count as wrong.",
            "",
            *(f"- {name}: {value}" for name, value in conditions),
            "",
        ]
    )


def _rounded(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)

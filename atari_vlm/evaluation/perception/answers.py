"""What a reply says, and how right it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from atari_vlm.agents.json_values import json_objects
from atari_vlm.evaluation.perception.questions import Question

LEAST_OVERLAP = 0.5
_MOST_BOXES = 500  # more is no answer
_LONGEST_NAME = 80

Box = tuple[float, float, float, float]


class Found(NamedTuple):
    """Boxes that are right, that are of nothing, and that were missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def f1(self) -> float | None:
        """2 right / (2 right + wrong + missed); ``None`` where there was nothing to find and nothing was told."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else None


def read_answer(text: str, question: Question) -> Any:
    """The value that a reply gives as plain data, or ``None`` where it cannot be read as one of the question's kind."""
    values = [item["answer"] for item in json_objects(text, "answer")]
    if not values or any(value != values[-1] for value in values):
        return None
    value = values[-1]
    if question.kind == "objects":
        return _objects(value)
    if question.kind == "direction":
        word = value.strip().casefold() if isinstance(value, str) else None
        return word if word in question.choices else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _objects(value: Any) -> list[dict[str, Any]] | None:
    if not isinstance(value, list) or len(value) > _MOST_BOXES:
        return None
    found = [_object(item) for item in value]
    return None if None in found else [item for item in found if item is not None]


def _object(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, Mapping):
        return None
    name, box = item.get("name"), item.get("box")
    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        return None
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(edge) for edge in box):
        return None
    return {"name": name.strip(), "box": box}


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and -1e9 < value < 1e9
        and math.isfinite(value)
    )


def is_same(one: Any, other: Any) -> bool:
    """Whether two answers say the same; the order of objects does not count."""
    return _in_order(one) == _in_order(other)


def _in_order(answer: Any) -> Any:
    if not isinstance(answer, list):
        return answer
    return sorted(json.dumps([item["name"], *map(float, item["box"])]) for item in answer)


def is_correct(question: Question, answer: Any) -> bool:
    """Whether an answer is right; of objects, whether each is found and nothing else is told."""
    if question.kind != "objects":
        return answer is not None and bool(answer == question.truth)
    found = compare(question.truth, answer)
    return answer is not None and not found.wrong and not found.missed


def compare(
    truth: Sequence[Mapping[str, Any]], answer: Sequence[Mapping[str, Any]] | None
) -> Found:
    """The greatest number of pairs of one name whose boxes overlap by half (intersection over union), each box used once."""
    told = answer or ()
    right = 0
    for name in {item["name"] for item in truth}:
        boxes = [tuple(item["box"]) for item in truth if item["name"] == name]
        said = [tuple(item["box"]) for item in told if item["name"] == name]
        near = [
            [i for i, other in enumerate(said) if overlap(box, other) >= LEAST_OVERLAP]
            for box in boxes
        ]
        right += _pairs(near)
    return Found(right, len(told) - right, len(truth) - right)


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom); 0 for a box that holds nothing."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _pairs(near: Sequence[Sequence[int]]) -> int:
    """The size of the largest matching, where item ``i`` may be matched with ``near[i]`` (augmenting paths)."""
    owner: dict[int, int] = {}

    def place(item: int, tried: set[int]) -> bool:
        for partner in near[item]:
            if partner in tried:
                continue
            tried.add(partner)
            if partner not in owner or place(owner[partner], tried):
                owner[partner] = item
                return True
        return False

    return sum(place(item, set()) for item in range(len(near)))

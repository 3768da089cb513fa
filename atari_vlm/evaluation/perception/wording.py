"""What is asked, in words, and the JSON schema that answers follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

SYSTEM = (
    "You are shown pictures of an Atari 2600 game and asked about what they show. "
    'Answer with one JSON object {"answer": VALUE} and nothing else.'
)


def question_text(
    kind: str, game: str, names: Sequence[str], about: str, choices: Sequence[str]
) -> str:
    """One question; ``about`` is what it is about: a sort of thing, where a number stands, or one thing with its box."""
    listed = ", ".join(names)
    asked = {
        "objects": "Where is everything? List every object of these kinds that is to be seen, each with its box "
        f"in pixels of the picture (left, top, right, bottom; the origin is the left upper corner): {listed}. "
        'Form of the answer: {"answer": [{"name": NAME, "box": [x0, y0, x1, y1]}, ...]}.',
        "count": f"How many objects of the kind {about!r} are to be seen, partly hidden ones included? "
        'Form of the answer: {"answer": NUMBER}.',
        "lives": f'How many lives are left{about}? Form of the answer: {{"answer": NUMBER}}.',
        "score": f'What number does the screen show as {about}? Form of the answer: {{"answer": NUMBER}}.',
        "direction": "The second picture was taken a moment after the first. Which way did one object move? "
        f"In the first picture it is the {about} (left, top, right, bottom in pixels). "
        f'Form of the answer: {{"answer": DIRECTION}}, one of {", ".join(choices)}.',
    }
    return f"Game: {game}. {asked[kind]}"


def decoy_text(answer: Any) -> str:
    """An example of the form, which is of another picture."""
    return f"Example of the form, from another picture: {json.dumps({'answer': answer})}"


def schema(kind: str, names: Sequence[str], choices: Sequence[str]) -> Mapping[str, Any]:
    """The JSON schema of an answer."""
    box = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
    thing = {
        "type": "object",
        "properties": {"name": {"type": "string", "enum": list(names)}, "box": box},
        "required": ["name", "box"],
    }
    value: dict[str, Any] = {"type": "integer"}
    if kind == "objects":
        value = {"type": "array", "items": thing}
    elif kind == "direction":
        value = {"type": "string", "enum": list(choices)}
    return {"type": "object", "properties": {"answer": value}, "required": ["answer"]}

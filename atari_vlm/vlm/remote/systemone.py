"""Scores from a server of typed decisions: ``/v1/systemone`` of ``transformers serve``.

The server puts the choices behind the question as a lettered list, asks for the letter, and says how probable each letter is
among them, by one forward pass. That is no probability of a complete answer but of what the model would pick from a list, and
it sums to 1. The messages become one text, since the server writes the turn itself; at most four pictures are taken.

Source: transformers 5.23, ``transformers serve``, and the request's form at api.typesafe.ai/openapi.json.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, NotSupportedError, RequestError
from atari_vlm.types import Image, Message
from atari_vlm.vlm.remote.answers import BrokenAnswerError, mapping
from atari_vlm.vlm.remote.scoring import Asking
from atari_vlm.vlm.remote.text import clean_text

MOST_PICTURES = 4
_QUESTION = "action"
_MISSING = "The server has no /v1/systemone, as transformers serve has"


def score(asking: Asking, turns: list[Message], choices: Sequence[str]) -> np.ndarray:
    """Logarithm of each choice's probability among ``choices``, float64 ``(n,)``, by one request.

    ``RequestError`` for more than four pictures, ``NotSupportedError`` where the server has no such address.
    """
    if len(set(choices)) != len(choices):
        raise ConfigError(f"scores=systemone needs choices that differ, got {list(choices)}")
    state, assets = _state(asking.name, turns)
    question = {"type": "choice", "criteria": dict.fromkeys(choices)}
    request = {
        "model": asking.target.model,
        "state": state,
        "questions": {_QUESTION: question},
        **({"assets": assets} if assets else {}),
    }
    return asking.fetch(
        _send, request, lambda body: read_decision(asking.name, body, choices), _MISSING
    )


async def _send(client: Any, request: dict[str, Any]) -> bytes:
    text: str = await client.post("/systemone", cast_to=str, body=request)
    return text.encode()


def read_decision(name: str, body: Mapping[str, Any], choices: Sequence[str]) -> np.ndarray:
    """The logarithms of ``answers.action.probabilities``; minus infinity for a probability of 0."""
    if "answers" not in body:
        raise NotSupportedError(f"{name}: {_MISSING}")
    answer = mapping(mapping(body["answers"]).get(_QUESTION))
    found = mapping(answer.get("probabilities"))
    values = [found.get(choice) for choice in choices]
    chances = np.array([v if _is_chance(v) else np.nan for v in values], dtype=np.float64)
    if np.isnan(chances).any() or abs(chances.sum() - 1) > 0.01:
        raise BrokenAnswerError("no probability for each choice")
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(chances))


def _is_chance(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _state(name: str, turns: Sequence[Message]) -> tuple[str, dict[str, Any]]:
    """The messages as one text with a mark for each picture, and the pictures by their marks."""
    pictures = [image for turn in turns for image in turn.images]
    if len(pictures) > MOST_PICTURES:
        raise RequestError(
            f"{name}: /v1/systemone takes {MOST_PICTURES} pictures at most, and the question has {len(pictures)}: "
            "fewer frames, icl_images=0"
        )
    marks = [f"<picture-{number}>" for number in range(1, len(pictures) + 1)]
    waiting = iter(marks)
    talk = any(turn.role == "assistant" for turn in turns)
    texts = [
        (f"{turn.role}:\n" if talk else "")
        + "\n".join(
            next(waiting) if isinstance(part, Image) else _harmless(part.text, marks)
            for part in turn.parts
        )
        for turn in turns
    ]
    assets = {mark: _asset(image) for mark, image in zip(marks, pictures, strict=True)}
    return "\n\n".join(texts), assets


def _harmless(text: str, marks: Sequence[str]) -> str:
    """``text`` without the marks of pictures: only a picture's own place stands for it."""
    for mark in marks:
        text = text.replace(mark, mark.strip("<>"))
    return clean_text(text)


def _asset(image: Image) -> dict[str, str]:
    data = base64.b64encode(image.png).decode("ascii")
    return {"type": "image", "format": "png", "data_base64": data}

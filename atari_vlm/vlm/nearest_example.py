"""``NearestExampleVLM``: a real in-context learner without a network. It does what the most similar example did.

It knows nothing but the examples in its prompt, so a better score with examples than without proves that they arrive.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from atari_vlm.types import Image, Message, Reply
from atari_vlm.vlm.base import Capability, NoScores, Sampling
from atari_vlm.vlm.scripted.reading import Request, read_request
from atari_vlm.vlm.scripted.scene import Move
from atari_vlm.vlm.scripted.writing import write_answer

_TAG = re.compile(r"ACTION: *([A-Z]+)")
_HEIGHT, _WIDTH = 96, 80  # pictures are compared at this size
_BLURS = (3, 9, 31)  # pixels
_VISIBLE = 12  # a pixel this much brighter or darker than the background belongs to an object


@dataclass(frozen=True)
class Candidate:
    """The last pictures of an example (at most two, oldest first), and the action that was taken then."""

    images: tuple[Image, ...]
    action: str


class NearestExampleVLM(NoScores):
    """Answers with the action of the example whose pictures are nearest to the question's; the latest of equals.

    Every user message with pictures that is followed by an assistant message naming a legal action is an example. The
    background is what most pictures agree on; what differs from it are the objects, and the distance is how far they lie
    apart, coarse and fine. Without examples it answers the first legal action and says so. It keeps nothing between calls.
    """

    name = "nearest-example"
    capabilities: frozenset[Capability] = frozenset({"schema", "choices"})

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Answer in the form asked for: by ``sampling``'s schema or choices, else by the words of the prompt."""
        request = read_request(messages, sampling)
        if not request.actions:
            return self._say(
                "I find no numbered list of legal actions in the request, so I cannot choose one."
            )
        move = _imitate(request, find_examples(messages, request.actions))
        return self._say(write_answer(move, request))

    def _say(self, text: str) -> Reply:
        return Reply(text, model=self.name, cost_usd=0.0)


def find_examples(messages: Sequence[Message], actions: Sequence[str]) -> list[Candidate]:
    """The examples among ``messages``, in order."""
    candidates = []
    for question, answer in itertools.pairwise(messages):
        if question.role == "user" and answer.role == "assistant" and question.images:
            action = _named_action(answer.text)
            if action is not None and action in actions:
                candidates.append(Candidate(question.images[-2:], action))
    return candidates


def _named_action(text: str) -> str | None:
    """The action that an assistant message names, in any of the answer forms."""
    try:
        answer = json.loads(text)
    except ValueError:
        tags = _TAG.findall(text)
        return tags[-1] if tags else text.strip()
    return answer.get("action") if isinstance(answer, dict) else None


def _imitate(request: Request, examples: Sequence[Candidate]) -> Move:
    if not examples:
        return Move(
            request.actions[0],
            f"I was shown no examples, so I take the first action, {request.actions[0]}.",
        )
    if not request.images:
        return Move(examples[-1].action, "I see no picture, so I do what the last example did.")
    far = distances(request.images[-2:], [example.images for example in examples])
    nearest = len(far) - 1 - int(np.argmin(far[::-1]))
    words = (
        f"Example {nearest + 1} of {len(far)} looks most like this (distance {far[nearest]:.3g})"
    )
    return Move(
        examples[nearest].action, f"{words}; there the action was {examples[nearest].action}."
    )


def distances(query: Sequence[Image], examples: Sequence[Sequence[Image]]) -> np.ndarray:
    """How far each example's pictures are from the query's, float64 ``(examples,)``; 0 is equal.

    The last pictures are compared, and the ones before them where both sides have one; the mean counts.
    """
    latest = _apart(query[-1], [images[-1] for images in examples])
    older = [images[-2] for images in examples if len(images) > 1]
    if len(query) < 2 or len(older) < len(examples):
        return latest
    return (latest + _apart(query[-2], older)) / 2


def _apart(query: Image, examples: Sequence[Image]) -> np.ndarray:
    """Distance of one picture to each example's: the object pixels that are not shared, blurred from little to widely.

    An object that lies ``d`` pixels off no longer overlaps with itself at blurs narrower than ``d``; weighting each blur by
    its width makes the sum grow with ``d`` (as the earth mover's distance does).
    """
    grey = np.stack([_small_grey(image) for image in (*examples, query)])  # (examples + 1, H, W)
    background = np.partition(grey, len(grey) // 2, axis=0)[len(grey) // 2]
    moving = (cv2.absdiff(grey, np.broadcast_to(background, grey.shape)) > _VISIBLE).astype(
        np.float32
    )
    moving *= 1.0 / (0.05 + moving.mean(axis=0))  # what is rarely there counts most
    excess = moving[:-1] - moving[-1]
    total = np.zeros(len(examples))
    for number, picture in enumerate(excess):
        for width in _BLURS:
            total[number] += (
                width
                * np.abs(cv2.blur(picture, (width, width), borderType=cv2.BORDER_CONSTANT)).mean()
            )
    return total


def _small_grey(image: Image) -> np.ndarray:
    """Brightness, uint8 ``(96, 80)``: the mean over the pixels that each position stands for."""
    return np.asarray(
        cv2.resize(image.pixels[..., 1], (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    )

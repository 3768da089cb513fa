"""A VLM that says what it is told to, and observations to show to an agent.

``ScriptedVLM`` plays well and never errs; the agent's handling of bad replies needs one that says anything.
"""

from __future__ import annotations

import numpy as np

from atari_vlm.description import Facts, list_actions
from atari_vlm.types import Reply
from atari_vlm.vlm.base import NoScores, request_key

NAMES = ("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "RIGHTFIRE", "UPRIGHTFIRE")


class SayingVLM(NoScores):
    """Says the given replies in turn (text or ``Reply``, an exception is raised), the last one for ever; keeps requests."""

    def __init__(self, *replies, capabilities=(), scores=None):
        self.name, self.capabilities = "saying", frozenset(capabilities)
        self.replies, self.requests, self.scores = list(replies), [], scores

    def complete(self, messages, *, sampling):
        self.requests.append((tuple(messages), sampling))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Reply) else Reply(reply, self.name)

    def score_choices(self, messages, choices):
        if self.scores is None:
            return super().score_choices(messages, choices)
        self.requests.append((tuple(messages), None))
        self.choices = tuple(choices)
        return np.array(self.scores, np.float64)

    @property
    def keys(self):
        return [request_key(self.name, messages, sampling) for messages, sampling in self.requests]


def see(
    step: int = 0,
    *,
    names=NAMES,
    size=(12, 16),
    stack: int | None = None,
    grey: bool = False,
    game="Pong",
):
    """An observation of step ``step``: the picture of step n is filled with n (modulo 256)."""
    shape = size if grey else (*size, 3)
    picture = np.full(shape, step % 256, np.uint8)
    observation = {
        "image": picture,
        "text": Facts(game, step=step).to_text(),
        "action_space": list_actions(names),
    }
    if stack is not None:
        observation["frames"] = np.stack(
            [np.full(shape, max(step - age, 0), np.uint8) for age in reversed(range(stack))]
        )
    return observation

"""VLMs of odd answers: one that scores the actions, one that reads pictures first, one whose replies often name no action."""

import json
import re

import numpy as np
from own_players import LightVLM, direction

from atari_vlm.types import Reply


class ScoringVLM(LightVLM):
    """Scores the direction of the light highest; the third action is impossible."""

    name = "scorer"
    capabilities = frozenset({"scores"})

    def score_choices(self, messages, choices):
        scores = np.full(len(choices), -1.5)
        scores[direction(messages[-1].images[-1].pixels)] = -0.2
        scores[-1] = -np.inf
        return scores


class OddVLM(LightVLM):
    """Names an action only where the question is of an even number of messages, and is cut or refused elsewhere."""

    name = "odd"

    def complete(self, messages, *, sampling):
        said = super().complete(messages, sampling=sampling)
        steps = sum(len(m.text) for m in messages)
        if steps % 3 == 0:
            return Reply("I think\nACTION: GO_LEFT", "odd-1", finish_reason="length")
        if steps % 3 == 1:
            return Reply("", "odd-1", note="the server said nothing")
        return Reply(said.text, "odd-2")


class ReadingVLM(LightVLM):
    """Says where it is when it is asked what it sees."""

    name = "reader"

    def complete(self, messages, *, sampling):
        if "choose no action" in messages[0].text:
            return Reply("a light [0, 0, 2, 4]", "reader-1", cost_usd=0.0)
        return super().complete(messages, sampling=sampling)


class PlanningVLM(LightVLM):
    """Proposes to go on one way or the other, as long as it is asked to; every third reply holds no plan."""

    name = "planner"

    def complete(self, messages, *, sampling):
        text = "\n".join(message.text for message in messages)
        names = list(dict.fromkeys(re.findall(r"^\d+: (\S+)", text, re.MULTILINE)))
        plans = [{"actions": [name] * 3} for name in names[:2]]
        if len(text) % 3 == 0:
            return Reply("I cannot say.", "planner-1", cost_usd=0.0)
        return Reply(json.dumps({"reasoning": "", "plans": plans}), "planner-1", cost_usd=0.0)

"""VLMs that see what was planted, for perception: they know the questions and answer by a rule that is counted by hand."""

import json
import threading
from collections import Counter

from atari_vlm.errors import UnavailableError
from atari_vlm.types import Reply

KNOWN = {}  # prompt -> question; filled by the tests
NOWHERE = {"name": "nothing", "box": [0, 0, 5, 5]}


class Eyes:
    """Base: finds the question and says ``answer(question, time)``; ``time`` is how often it was asked before."""

    name = "eyes"
    capabilities = frozenset({"schema"})

    def __init__(self):
        self._asked, self._lock = Counter(), threading.Lock()

    def complete(self, messages, *, sampling):
        prompt = messages[-1].text
        with self._lock:
            time = self._asked[prompt]
            self._asked[prompt] += 1
        return Reply(self.say(KNOWN[prompt], time), model="planted", cost_usd=0.25)

    def score_choices(self, messages, choices):
        raise NotImplementedError

    def say(self, question, time):
        return json.dumps({"answer": self.answer(question, time)})

    def answer(self, question, time):
        raise NotImplementedError


def number_of(question):
    return int(question.id.split("-")[-2])


class Sharp(Eyes):
    def answer(self, question, time):
        return question.truth


class HalfBlind(Eyes):
    """Every second object and one of nothing; every second field and motion right; every third equal question answered
    otherwise; every fourth wrong example repeated; every fifth count unreadable."""

    def say(self, question, time):
        if (
            question.kind == "count"
            and question.variant == "plain"
            and number_of(question) % 5 == 4
        ):
            return "I cannot see it"
        return super().say(question, time)

    def answer(self, question, time):
        number = number_of(question)
        if question.variant == "decoy":
            return question.decoy if number % 4 == 0 else question.truth
        changed = time and number % 3 == 0
        if question.kind == "objects":
            seen = [*question.truth[::2], NOWHERE]
            return seen[1:] if changed else seen
        if question.kind == "direction":
            others = [way for way in question.choices if way != question.truth]
            right = (number % 2 == 0) != bool(changed)
            return question.truth if right else others[0]
        return question.truth + (number % 2) + (5 if changed else 0)


class Constant(Eyes):
    def answer(self, question, time):
        return {"objects": [], "direction": question.choices[:1]}.get(question.kind, 1)

    def say(self, question, time):
        answer = self.answer(question, time)
        return json.dumps({"answer": answer[0] if question.kind == "direction" else answer})


class Breaks(Sharp):
    """Gives up after so many calls."""

    left = None

    def complete(self, messages, *, sampling):
        cls = type(self)
        if cls.left is not None:
            cls.left -= 1
            if cls.left < 0:
                raise UnavailableError("the server is gone")
        return super().complete(messages, sampling=sampling)

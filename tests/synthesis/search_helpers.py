"""Searches without a sandbox: programs that say themselves how good they are, and writers that hold prepared replies."""

import threading

import gymnasium
import numpy as np

from atari_vlm.experience import TransitionBuffer
from atari_vlm.synthesis.records import Outcome
from atari_vlm.types import Reply
from atari_vlm.vlm.base import NoScores

LINES = "\n".join(f"line_{i} = {i}" for i in range(13))


def program(score, name="p"):
    """A program of 14 lines that the stand-in judge gives ``score``; ``"b"`` raises."""
    return f"# {name} {score}\n{LINES}"


def judge(text):
    """The stand-in scorer: the first line holds the score."""
    word = text.split("\n")[0].split()[-1]
    if word == "b":
        return Outcome(text, failure="bug", error=f"NameError: {text[:12]}")
    example = {
        "state": 1,
        "action": 0,
        "next_state": 2,
        "reward": -1.0,
        "done": False,
        "predicted": {"next_state": 3, "reward": -1.0, "done": False},
        "wrong": ["next_state"],
    }
    score = float(word)
    return Outcome(text, score, examples=() if score == 1.0 else (example,), held_out=score / 2)


def reply(text):
    """A program as a writer sends it."""
    return f"Here it is.\n```python\n{text}\n```\nDone."


class Writer(NoScores):
    """Answers by number of call, whatever is asked; remembers what was asked. ``answer(number, text, sample)``."""

    capabilities = frozenset()

    def __init__(self, answer, name="writer"):
        self.name, self._answer = name, answer
        self.asked = []
        self._lock = threading.Lock()

    def complete(self, messages, *, sampling):
        with self._lock:
            self.asked.append((messages[-1].text, sampling))
            number = len(self.asked)
        answer = self._answer(number, messages[-1].text, sampling.sample)
        return answer if isinstance(answer, Reply) else Reply(answer, "model-1", cost_usd=0.01)


def prepared(*scores):
    """A writer whose n-th reply is a program of the n-th score."""
    return Writer(lambda number, *_: reply(program(scores[number - 1], f"call-{number}")))


def by_question(text, sample):
    """A reply that is a function of the question alone: what parallel calls need to be told apart by."""
    rng = np.random.RandomState(sum(map(ord, text)) % 2**31 + sample)
    score = "b" if rng.rand() < 0.3 else round(float(rng.rand()) * 0.9, 2)
    return reply(program(score, f"{rng.randint(10**6)}"))


def buffer(n=40):
    """Steps of a counter modulo 5 whose action adds 0 or 1."""
    rng = np.random.RandomState(0)
    states, actions = rng.randint(5, size=n), rng.randint(2, size=n)
    after = (states + actions) % 5
    return TransitionBuffer(
        states,
        actions,
        np.where(after == 0, 1.0, -0.5),
        after,
        after == 4,
        np.zeros(n, bool),
        env_id="Counter-v0",
        observation_space=gymnasium.spaces.Discrete(5),
        action_space=gymnasium.spaces.Discrete(2),
    )

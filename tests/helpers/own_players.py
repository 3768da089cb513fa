"""Agents and VLMs that are not the package's: what a study takes as ``own_players:Class``."""

import hashlib
import os
import re
import time

import numpy as np

from atari_vlm.types import Decision, Reply, Source, Usage
from atari_vlm.vlm.base import NoScores


class Steering:
    """Steers to the light of the lane; ``skill`` is the chance of doing so instead of staying."""

    def __init__(self, skill=1.0, action_space=None):
        assert action_space is not None
        self.skill = skill

    def reset(self, *, seed=None):
        self.rng = np.random.default_rng(seed)

    def act(self, observation):
        drawn = self.rng.random()
        action = direction(np.asarray(observation["image"])) if drawn < self.skill else 0
        return Decision(action, Source.POLICY)

    def observe(self, transition):
        pass


class SaysANumber(Steering):
    """Breaks the contract: its decisions are numbers."""

    def act(self, observation):
        return 0


class Forgets(Steering):
    """Raises in the middle of a game."""

    def act(self, observation):
        raise KeyError("memory")


class LightVLM(NoScores):
    """Steers to the light by its picture, for a price; it says that it took ``latency_s`` and takes ``seconds``."""

    name = "light"
    capabilities = frozenset()
    calls = 0

    def __init__(self, latency_s=0.0, price=0.001, price_known=True, seconds=0.0):
        self.seconds = seconds
        self.latency_s, self.price, self.price_known = latency_s, price, price_known

    def complete(self, messages, *, sampling):
        type(self).calls += 1
        time.sleep(self.seconds)
        pictures = [image for message in messages for image in message.images]
        names = re.findall(r"^\d+: (\S+)", "\n".join(m.text for m in messages), re.MULTILINE)
        action = direction(pictures[-1].pixels) if pictures else 0
        text = f"I steer.\nACTION: {names[action]}"
        usage = Usage(sum(len(m.text) for m in messages) // 4 + 100 * len(pictures), 7)
        return Reply(text, "light-1", usage=usage, latency_s=self.latency_s, cost_usd=self.price)


class NoPlayer:
    """Neither agent nor VLM."""


def direction(picture):
    """STAY, GO_LEFT or GO_RIGHT, from the lane's picture."""
    me = int(np.argwhere(picture[13, :, 0] == 255)[0][0]) // 2
    light = int(np.argwhere(picture[1, :, 0] == 255)[0][0]) // 2
    return 0 if me == light else 1 if light < me else 2


class LedgerVLM(LightVLM):
    """Notes every call in a file that all processes share, a line each: what was asked, by which process."""

    def __init__(self, ledger="", seconds=0.0, price=0.001):
        super().__init__(seconds=seconds, price=price)
        self.ledger = ledger

    def complete(self, messages, *, sampling):
        asked = hashlib.sha256(repr(messages).encode()).hexdigest()[:16]
        with open(self.ledger, "a") as file:  # one write of a short line is whole
            file.write(f"{asked} {os.getpid()}\n")
        return super().complete(messages, sampling=sampling)

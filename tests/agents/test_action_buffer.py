import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from atari_vlm.agents import ActionBuffer
from atari_vlm.errors import ConfigError

PLANS = st.lists(st.integers(0, 5), max_size=4)
SCORES = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))


class BufferAgainstList(RuleBasedStateMachine):
    """The buffer against a list that says what it means: waiting plans best first, and the rest of the plan followed."""

    def __init__(self):
        super().__init__()
        self.buffer = ActionBuffer(3, score_threshold=-1.0)
        self.waiting, self.rest, self.order, self.given = [], [], 0, 0

    @rule(plan=PLANS, score=SCORES)
    def offer(self, plan, score):
        good = bool(plan) and math.isfinite(score) and score >= -1.0
        self.order += 1
        entry = (-score, self.order, tuple(plan))
        if good:
            self.waiting = sorted([*self.waiting, entry])[:3]
        assert self.buffer.add_plan(plan, score) is (good and entry in self.waiting)

    @rule()
    def take(self):
        if not self.rest and self.waiting:
            self.rest = list(self.waiting.pop(0)[2])
        expected = self.rest.pop(0) if self.rest else None
        self.given += expected is not None
        assert self.buffer.get_action() == expected

    @rule()
    def give_up(self):
        self.buffer.stop_following()
        self.rest = []

    @rule()
    def judge_again(self):
        assert [plan.actions for plan in self.buffer.take_waiting()] == [
            plan for _, _, plan in self.waiting
        ]
        self.waiting = []

    @rule()
    def clear(self):
        self.buffer.clear()
        self.waiting, self.rest = [], []

    @invariant()
    def same(self):
        status = self.buffer.get_buffer_status()
        assert status["size"] == len(self.waiting) <= status["max_size"] == 3
        assert status["plan"] == self.rest and status["actions_remaining"] == len(self.rest)
        assert (
            status["scores"]
            == [-score for score, _, _ in self.waiting]
            == sorted(status["scores"], reverse=True)
        )
        assert all(score >= -1.0 for score in status["scores"])
        assert self.buffer.is_empty() == (not self.rest and not self.waiting)
        assert self.buffer.is_following == bool(self.rest) and status["hits"] == self.given


TestBuffer = BufferAgainstList.TestCase
TestBuffer.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_the_readme_of_the_source_system():
    buffer = ActionBuffer(max_buffer_size=10, score_threshold=0.5)
    assert buffer.add_plan([1, 2], 0.4) is False and buffer.is_empty()
    assert buffer.add_plan([1, 2], 0.5) and buffer.add_plan([3], 0.9)
    assert [buffer.get_action() for _ in range(4)] == [3, 1, 2, None]


@pytest.mark.parametrize("plan", [[], [-1], [0.5], [True], ["UP"], [None]])
def test_what_is_no_plan_never_enters(plan):
    buffer = ActionBuffer()
    assert buffer.add_plan(plan, 1.0) is False and buffer.is_empty() and buffer.refused == 1


def test_what_is_cleared_counts_as_expired():
    buffer = ActionBuffer()
    buffer.add_plan(np.array([1, 2, 3]), 2.0)
    buffer.add_plan([4, 5], 1.0)
    assert buffer.get_action() == 1
    buffer.clear()
    assert buffer.expired == 4 and buffer.get_action() is None


@pytest.mark.parametrize("wrong", [(0, 0.0), (-1, 0.0), (2.5, 0.0), (3, math.nan)])
def test_bad_options_are_refused(wrong):
    with pytest.raises(ConfigError):
        ActionBuffer(*wrong)

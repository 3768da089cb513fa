"""The plain search that the batched one is measured against really searches, in the same game."""

from __future__ import annotations

import numpy as np
import pytest

from atari_vlm.bench.measure import Case, measure
from atari_vlm.bench.plain_search import PlainSearch
from atari_vlm.bench.plan import CartPole, plain_step


def corridor(state, action):
    """Left (0) falls off at once; right (1) goes on for ten steps."""
    (place,) = state
    return [place + 1], action == 0 or place >= 10


def test_it_takes_the_action_that_lives_longer():
    search = PlainSearch(corridor, 2, depth=8, rollout=5)
    assert search.run([0.0], 50) == 1


def test_equal_searches_decide_alike():
    state = [0.02, 0.5, 0.05, 0.3]
    searches = [PlainSearch(plain_step, 2, depth=10, rollout=10) for _ in range(2)]
    assert searches[0].run(state, 40) == searches[1].run(state, 40)


def test_every_simulation_counts_once_at_the_root():
    steps = []

    def counted(state, action):
        steps.append(action)
        return corridor(state, action)

    PlainSearch(counted, 2, depth=1, rollout=0).run([0.0], 10)
    assert sorted(steps) == [0, 1]  # both children are made once; at depth 1 nothing is below them


@pytest.mark.parametrize("seed", range(5))
def test_the_plain_step_is_the_batched_one(seed):
    rng = np.random.default_rng(seed)
    states = rng.uniform(-0.2, 0.2, (6, 4))
    actions = rng.integers(2, size=6)
    step = CartPole().step(states, actions, rng=rng)
    for state, action, after, over in zip(
        states, actions, step.state, step.terminated, strict=True
    ):
        plain, ended = plain_step(state.tolist(), int(action))
        np.testing.assert_allclose(after, plain, atol=1e-12)
        assert ended == over


@pytest.mark.parametrize(
    ("better", "goal", "reached"), [("lower", 0.0, False), ("higher", 0.0, True)]
)
def test_a_goal_bounds_the_ratio_from_its_side(better, goal, reached):
    work = [0]

    def busy():
        work[0] = sum(range(2000))

    result = measure(Case("a", "b", busy, busy, goal, better, clock="wall"), rounds=3)
    assert result.reached is reached and result.ours > 0
    assert result.ratio_low <= result.ratio_high

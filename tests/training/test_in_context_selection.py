"""Which examples are shown: budgets, orders, ranks and digests, for any contents of the library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.agents.in_context.demonstrations import (
    Demonstration,
    DemonstrationLibrary,
    Example,
    digest_of,
)
from atari_vlm.agents.in_context.examples import (
    STRATEGIES,
    InContextOptions,
    estimate_tokens,
    select,
    within_budget,
)
from atari_vlm.scores.statistics import aggregate
from atari_vlm.training.in_context.ablation import AblationRow, ablation_table, run_ablation
from atari_vlm.types import Image

FRAME = Image(np.zeros((60, 100, 3), np.uint8)).png


def example(episode=0, step=0, outcome=0.0, text="x" * 40, frames=1, window=None):
    return Example(episode, step, (FRAME,) * frames, text, "UP", outcome, window)


def demonstration(episode, outcomes):
    examples = tuple(
        example(episode, step, outcome, window=step if outcome else None)
        for step, outcome in enumerate(outcomes)
    )
    return Demonstration("Pong", episode, episode, float(sum(outcomes)), len(outcomes), examples)


def library_of(returns, best=20, recent=5):
    library = DemonstrationLibrary(best, recent)
    library.add([demonstration(episode, [value]) for episode, value in enumerate(returns)])
    return library


OUTCOMES = st.lists(st.lists(st.integers(-1, 1), min_size=1, max_size=6), max_size=5)
RETURNS = st.lists(st.integers(-21, 21), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(OUTCOMES, st.sampled_from(STRATEGIES), st.integers(1, 6), st.integers(2, 9))
def test_every_strategy_keeps_the_budget_and_the_order(episodes, strategy, most, images):
    demonstrations = [demonstration(i, outcomes) for i, outcomes in enumerate(episodes)]
    options = InContextOptions(
        strategy=strategy, max_examples=most, max_images=images, max_tokens=600
    )
    selected = select(demonstrations, options)
    places = [(each.episode, each.step) for each in selected]
    assert places == sorted(set(places)) and len(places) <= most
    assert sum(len(each.frames) for each in selected) <= images
    assert sum(map(estimate_tokens, selected)) <= 600
    assert selected == select(demonstrations, options)


def test_an_example_that_does_not_fit_is_passed_over_for_the_next():
    options = InContextOptions(max_examples=3, max_tokens=300)
    large, small = example(step=0, text="x" * 4000), [example(step=s) for s in (3, 2, 1)]
    assert [each.step for each in within_budget([large, *small], options)] == [2, 3]


@pytest.mark.parametrize(
    ("frames", "text", "tokens"), [(0, "", 40), (1, "", 125), (2, "abcde", 212)]
)
def test_small_pictures_cost_85_tokens_and_four_letters_one(frames, text, tokens):
    assert estimate_tokens(example(frames=frames, text=text)) == tokens


@given(RETURNS)
def test_ranks_are_shares_and_grow_with_the_return(returns):
    library = library_of(returns)
    ranked = sorted((d.episode_return, library.rank(d)) for d in library.demonstrations)
    assert all(0 < rank < 1 for _, rank in ranked)
    assert [rank for _, rank in ranked] == sorted(rank for _, rank in ranked)
    flipped = library_of([-value for value in returns])
    for each, mirror in zip(library.demonstrations, flipped.demonstrations, strict=True):
        assert library.rank(each) + flipped.rank(mirror) == pytest.approx(1.0)


@given(RETURNS, st.integers(1, 4), st.integers(1, 4))
def test_a_library_keeps_the_best_and_the_latest(returns, best, recent):
    library = library_of(returns, best, recent)
    kept = {d.episode for d in library.demonstrations}
    by_return = sorted(range(len(returns)), key=lambda e: (-returns[e], -e))
    assert kept == {*by_return[:best], *range(len(returns))[-recent:]}
    assert [d.episode for d in library.demonstrations] == sorted(kept)
    assert [d.episode for d in library.snapshot()] == [e for e in by_return if e in kept]


def test_a_snapshot_does_not_change_when_more_is_learned():
    library = library_of([1, 2])
    snapshot = library.snapshot()
    library.add([demonstration(9, [21])])
    assert [d.episode for d in snapshot] == [1, 0] and len(library) == 3


def test_equal_memories_have_one_digest_and_every_change_another():
    first = [demonstration(0, [1, 0])]
    assert digest_of(first) == digest_of([demonstration(0, [1, 0])])
    others = [[demonstration(1, [1, 0])], [demonstration(0, [0, 1])], [], [*first, *first]]
    assert len({digest_of(each) for each in (first, *others)}) == 5


class FakeTrainer:
    """Plays strategies on the same seeds: ``none`` gets 0, 1, 2, ...; each other one its place more."""

    def __init__(self):
        self.strategies = []

    def evaluate(self, num_episodes, *, strategy):
        self.strategies.append(strategy)
        bonus = float(len(self.strategies) - 1)
        returns = [index + bonus for index in range(num_episodes)]
        return {"episode_rewards": returns, "fallback_rate": 0.25, "cost_usd": None}


def test_an_ablation_compares_episode_by_episode_with_none():
    trainer = FakeTrainer()
    rows = run_ablation(trainer, 4)
    assert trainer.strategies[0] == "none" and set(trainer.strategies) == {"none", *STRATEGIES}
    for bonus, row in enumerate(rows):
        against = row.against_none
        assert (against.value, against.low, against.high) == (bonus, bonus, bonus)
        assert row.mean_return.value == pytest.approx(1.5 + bonus)


def test_the_ablations_table_compares_none_with_nothing():
    estimate = aggregate(np.array([[1.0], [3.0]]), "mean")
    none = AblationRow("none", estimate, estimate, 0.0, 0.5)
    best = AblationRow("best", estimate, estimate, 0.125, None)
    assert ablation_table([none, best]) == [
        ("none", str(estimate), "", "0.0%", "$0.5000"),
        ("best", str(estimate), str(estimate), "12.5%", "unknown"),
    ]

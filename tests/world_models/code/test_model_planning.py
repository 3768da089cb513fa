"""Planning in programs: whole plans cross once, a way on which the program raises is worth minus infinity."""

import numpy as np
import pytest
from programs import COUNTER, counter, true_model, true_program

from atari_vlm.planning import CEMConfig, MCTSConfig, cem, mcts, score_plans
from atari_vlm.world_models.code import LocalProgram, Sandbox, check_program

RNG = np.random.default_rng


def at(model, count):
    observations = np.array([[[count, 0.0]]], np.float32)
    return model.init(observations, np.zeros((1, 0), np.int64), rng=RNG(0))


class Counting(LocalProgram):
    """A program that counts how often it is asked."""

    asked = 0

    def rollout(self, *given, **options):
        self.asked += 1
        return super().rollout(*given, **options)

    def step_rows(self, *given, **options):
        self.asked += 1
        return super().step_rows(*given, **options)


def test_a_plan_on_whose_way_the_program_raises_is_worth_minus_infinity():
    with counter() as model:
        scores = score_plans(
            model, at(model, 0), [[0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 0, 1]], rng=RNG(0)
        )
    assert scores.scores[0] == -np.inf and scores.scores[1:] == pytest.approx([1.0, -0.2])
    assert scores.best == 1


def test_a_search_goes_round_what_raises():
    with counter() as model:
        for batch in (1, 8):
            config = MCTSConfig(num_simulations=40, rollout_steps=6, batch_size=batch, discount=1.0)
            result = mcts(model, at(model, -2), config, rng=RNG(0))
            assert result.action == 1 and np.isfinite(result.values[1])
        found = cem(model, at(model, -2), CEMConfig(horizon=4, population=24, elites=4), rng=RNG(0))
        assert found.plans[found.best][0] == 1 and np.isfinite(found.scores[found.best])


def test_all_plans_of_an_iteration_cross_once():
    program = Counting(COUNTER.replace("-3", "-300"))
    with counter(program) as model:
        cem(
            model,
            at(model, 0),
            CEMConfig(horizon=5, population=30, elites=3, iterations=4),
            rng=RNG(0),
        )
        assert program.asked == 4
        program.asked = 0
        mcts(model, at(model, 0), MCTSConfig(num_simulations=32, batch_size=8), rng=RNG(0))
        assert program.asked == 8  # a step and a rollout for each batch of leaves


def test_planning_is_the_same_in_the_sandbox_and_in_this_process():
    results = []
    for kind in (Sandbox, LocalProgram):
        with true_model("CartPole-v1", kind(true_program("CartPole-v1"))) as model:
            state = model.init(model.start.observations[:1], model.start.actions[:1], rng=RNG(0))
            result = mcts(model, state, MCTSConfig(num_simulations=30, batch_size=4), rng=RNG(0))
            results.append((result.action, result.visits.tolist(), result.values.tolist()))
    assert results[0] == results[1]


def test_batches_beyond_a_reply_s_limit_are_the_same_as_small_ones():
    with true_model("Acrobot-v1") as model:
        rng, rows = RNG(0), 3000
        observations = np.repeat(model.start.observations[:1], rows, 0)
        state = model.init(observations, np.zeros((rows, 0), np.int64), rng=rng)
        plans = rng.integers(3, size=(rows, 20))
        many = model.rollout(state, plans, rng=rng)
        few = model.init(observations[:2], np.zeros((2, 0), np.int64), rng=rng)
        ends = model.rollout(few, plans[[0, -1]], rng=rng)
        np.testing.assert_array_equal(many.reward[[0, -1]], ends.reward)
        np.testing.assert_array_equal(many.state.values[[0, -1]], ends.state.values)


def test_a_state_is_put_back_in_the_form_in_which_it_was_given():
    text = """
class Environment:
    def set_state(self, state): self.state = state.tolist()
    def step(self, action):
        self.state = [self.state[0] + action, self.state[1]]
        return self.state, 0.0, False
"""
    assert check_program(text, states=[np.zeros(2), np.ones(2)], actions=[0, 1]) == ()
    assert check_program(text, states=[[0.0, 0.0]], actions=[0, 1]) == ("raises",)

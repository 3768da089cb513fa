"""A model whose program raises: that is an error in an environment, and minus infinity in a plan."""

import numpy as np
import pytest
from planning_models import Table
from stepping import rollout_by_steps

from atari_vlm.errors import SandboxProgramError
from atari_vlm.planning import CEMConfig, MCTSConfig, cem, mcts, score_plans
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv


class Faulty(Table):
    """A table whose program raises where action 1 is played; ``calls`` of it."""

    calls = 0

    def step(self, state, action, *, rng):
        self.calls += 1
        if (np.asarray(action) == 1).any():
            raise SandboxProgramError("ZeroDivisionError: division by zero")
        return super().step(state, action, rng=rng)


class Rolling(Faulty):
    def rollout(self, state, plans, *, rng):
        return rollout_by_steps(self, state, plans, rng)


@pytest.mark.parametrize("make", [Faulty, Rolling])
def test_only_plans_that_raise_are_worth_nothing(make):
    model, rng = make([1.0, 9.0, 0.5]), np.random.default_rng(0)
    plans = np.array([[0, 0], [0, 1], [2, 2], [1, 0], [2, 0]])
    scores = score_plans(model, np.zeros(1), plans, rng=rng)
    assert scores.scores.tolist() == [2, -np.inf, 1, -np.inf, 1.5] and scores.best == 0
    none = score_plans(model, np.zeros(1), plans[[1, 3]], rng=rng)
    assert none.scores.tolist() == [-np.inf] * 2


def test_one_fault_among_many_costs_few_calls():
    model, plans = Faulty([1.0, 9.0, 0.5]), np.zeros((256, 1), int)
    plans[100] = 1
    scores = score_plans(model, np.zeros(1), plans, rng=np.random.default_rng(0)).scores
    assert np.isneginf(scores).nonzero()[0].tolist() == [100] and model.calls <= 17


@pytest.mark.parametrize("make", [Faulty, Rolling])
@pytest.mark.parametrize("keep_rollouts", [False, True])
def test_a_search_goes_round_what_raises(make, keep_rollouts):
    model = make([1.0, 9.0, 0.5])
    config = MCTSConfig(30, depth=5, rollout_steps=4, keep_rollouts=keep_rollouts)
    result = mcts(model, np.zeros(1), config, rng=np.random.default_rng(0))
    assert result.action == 0 and result.values[1] == -np.inf
    found = cem(model, np.zeros(1), CEMConfig(3, 32, 4, 3), rng=np.random.default_rng(0))
    assert found.plans[found.best].tolist() == [0, 0, 0]


def test_in_an_environment_it_is_the_program_s_error():
    class Breaks(CatchWorldModel):
        def step(self, state, action, *, rng):
            if (state.ball_row == 2).any():
                raise SandboxProgramError("KeyError: 3")
            return super().step(state, action, rng=rng)

    for world in (WorldModelEnv(Breaks()), WorldModelVectorEnv(Breaks(), 1)):
        world.reset(seed=0)
        for _ in range(2):
            world.step(0 if isinstance(world, WorldModelEnv) else [0])
        with pytest.raises(SandboxProgramError, match="KeyError: 3"):
            world.step(0 if isinstance(world, WorldModelEnv) else [0])
        world.reset(seed=1)
        world.step(0 if isinstance(world, WorldModelEnv) else [0])


def test_other_errors_are_not_swallowed():
    class Wrong(Table):
        def step(self, state, action, *, rng):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score_plans(Wrong([1.0]), np.zeros(1), [[0]], rng=np.random.default_rng(0))


class Valued(Table):
    """Every state is worth 5."""

    def value(self, state):
        return np.full(len(state), 5.0)


def test_a_model_s_own_value_is_used_unless_another_is_given():
    plans, rng, state = [[0, 0], [1, 0]], np.random.default_rng(0), np.zeros(1)
    model = Valued([1.0, 2.0], end=1)

    def scores(**given):
        return score_plans(model, state, plans, discount=0.5, rng=rng, **given).scores.tolist()

    assert scores() == [1.5 + 0.25 * 5, 2]
    assert scores(value=None) == [1.5, 2]
    assert scores(value=lambda after: -after) == [1.5 - 0.25 * 2, 2]
    config = MCTSConfig(8, depth=3, discount=0.5)
    own = mcts(model, state, config, rng=np.random.default_rng(0))
    given = mcts(model, state, config, rng=np.random.default_rng(0), value=model.value)
    rolled = mcts(model, state, config, rng=np.random.default_rng(0), value=None)
    assert own.values.tolist() == given.values.tolist() != rolled.values.tolist()

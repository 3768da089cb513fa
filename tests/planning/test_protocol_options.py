"""Planners, agents and dreams use what a model can do besides: observe, rollout, policy, value."""

import numpy as np
import pytest
from stepping import rollout_by_steps
from track import BOX, THREE, Track, TrackModel, play

from atari_vlm.agents import CEMAgent, MCTSAgent
from atari_vlm.checker import check_world_model
from atari_vlm.planning import CEMConfig, MCTSConfig, cem, mcts, score_plans
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.world_models.base import ModelStep
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

SMALL = CEMConfig(horizon=3, population=16, elites=4, iterations=2)


class Recurrent(TrackModel):
    """A model that remembers in ``seen`` how many pictures led to its state, and in ``went`` how far the actions were."""

    def __init__(self, space):
        super().__init__(space, context_length=1)
        self.observed = 0

    def init(self, observations, actions, *, rng):
        state = np.zeros((len(observations), 3))
        state[:, 0] = super().init(observations, actions, rng=rng)
        state[:, 1] = observations.shape[1]
        state[:, 2] = np.asarray(actions, float).reshape(len(actions), -1).sum(1)
        return state

    def observe(self, state, action, observation, *, rng):
        self.observed += 1
        fresh = super().init(observation[:, None], action[:, None], rng=rng)
        played = np.asarray(action, float).reshape(len(action), -1).sum(1)
        return np.stack([fresh, state[:, 1] + 1, state[:, 2] + played], 1)

    def step(self, state, action, *, rng):
        step = super().step(state[:, 0], action, rng=rng)
        return ModelStep(
            np.concatenate([step.state[:, None], state[:, 1:]], 1), step.reward, step.terminated
        )

    def decode(self, state):
        return super().decode(state[:, 0])


@pytest.mark.parametrize("space", [THREE, BOX])
@pytest.mark.parametrize("paints", [True, False])
def test_an_agent_s_model_observes_every_real_step_once(space, paints):
    model = Recurrent(space)
    check_world_model(model)
    model.observed = 0
    agent = CEMAgent(model, SMALL)
    decisions = play(agent, Track(space, paints=paints), 6)
    assert model.observed == 5
    state = agent._view.state(np.random.default_rng(0))
    assert state[0, 1] == 6
    assert state[0, 2] == pytest.approx(sum(np.sum(d.action) for d in decisions[:5]), abs=1e-5)
    play(agent, Track(space), 2)
    assert agent._view.state(np.random.default_rng(0))[0, 1] == 2


def test_steps_that_were_not_searched_are_observed_later():
    model = Recurrent(THREE)
    agent = MCTSAgent(model, MCTSConfig(12, depth=4), follow=3)
    play(agent, Track(THREE), 7)
    assert agent._view.state(np.random.default_rng(0))[0, 1] == 7 and model.observed == 6


def test_a_dream_comes_back_to_what_its_model_observed():
    model = Recurrent(THREE)
    dreams = WorldModelVectorEnv(model, 2, start=[Track(THREE), Track(THREE)], reanchor_every=3)
    dreams.reset(seed=0)
    for step in range(6):
        *_, info = dreams.step([1, 2])
        assert info["reanchored"].tolist() == [step in (2, 5)] * 2
    assert dreams.state.tolist() == [[8, 7, 6], [14, 7, 12]]


class Able(CatchWorldModel):
    """Catch that rolls out by itself, with an estimate and a policy that know where the ball is."""

    rolled = 0

    def rollout(self, state, plans, *, rng):
        self.rolled += 1
        return rollout_by_steps(self, state, plans, rng)

    def value(self, state):
        return np.where(state.over, 0.0, 1.0 - 0.1 * np.abs(state.paddle - state.ball_column))

    def policy(self, state):
        aim = np.sign(state.ball_column - state.paddle)
        return 0.02 + 0.94 * np.eye(3)[np.where(aim > 0, 1, np.where(aim < 0, 2, 0))]


@pytest.mark.parametrize("horizon", [1, 5, 7, 9])
@pytest.mark.parametrize("use_value", [True, False])
def test_a_rollout_scores_as_steps_do(horizon, use_value):
    able, plain = Able(), CatchWorldModel()
    plans = np.random.default_rng(1).integers(3, size=(20, horizon))
    results = []
    for model in (able, plain):
        state = model.init(
            model.start.observations[3:4], model.start.actions[3:4], rng=np.random.default_rng(0)
        )
        value = able.value if use_value else None
        options = {
            "discount": 0.9,
            "num_futures": 2,
            "value": value,
            "rng": np.random.default_rng(0),
        }
        results.append(score_plans(model, state, plans, **options))
    assert able.rolled == 1
    for name in ("scores", "rewards", "lengths", "spread"):
        np.testing.assert_array_equal(getattr(results[0], name), getattr(results[1], name))


def test_policy_and_value_guide_a_tree_search():
    able, plain = Able(), CatchWorldModel()
    for column in range(8):
        state = plain.init(
            plain.start.observations[[column]],
            plain.start.actions[[column]],
            rng=np.random.default_rng(0),
        )
        config = MCTSConfig(12, depth=10, rule="puct")
        result = mcts(able, state, config, rng=np.random.default_rng(0), value=able.value)
        aim = able.policy(state)[0]
        assert result.tree.root.prior == pytest.approx(aim / aim.sum())
        assert result.action == aim.argmax() or column == 4
        given = mcts(
            able, state, config, rng=np.random.default_rng(0), prior=[1, 0, 0], value=able.value
        )
        assert given.tree.root.prior == [1, 0, 0]
        without = mcts(able, state, MCTSConfig(12, depth=10), rng=np.random.default_rng(0))
        assert without.tree.root.prior is None
    assert cem(able, state, SMALL, rng=np.random.default_rng(0), value=able.value).scores.max() > 0


def test_a_model_that_needs_no_picture_is_given_none():
    class Blind(TrackModel):
        def init(self, observations, actions, *, rng):
            assert observations.shape == (1, 0, 8, 16, 3) and actions.shape == (1, 0)
            return np.zeros(1)

    model = Blind(THREE, context_length=0)
    play(CEMAgent(model, SMALL), Track(THREE))
    world = WorldModelEnv(model, start=Track(THREE), reanchor_every=1)
    world.reset(seed=0)
    assert world.step(1)[4]["reanchored"]

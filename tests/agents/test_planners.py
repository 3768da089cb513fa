import json

import gymnasium
import numpy as np
import pytest
from agent_fakes import SayingVLM

from atari_vlm.agents import CEMAgent, MCTSAgent, VLMPlansCEMAgent, VLMPriorMCTSAgent
from atari_vlm.bench.plan import CartPole
from atari_vlm.errors import ConfigError, NotSupportedError
from atari_vlm.planning import CEMConfig, MCTSConfig
from atari_vlm.runs.rollout import play_episode
from atari_vlm.types import Source, Transition
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.wrappers import TextDescription, WorldModelEnv


def catch(agent, episodes=8):
    env = TextDescription(WorldModelEnv(CatchWorldModel()), "Catch")
    return [play_episode(env, agent, seed=seed) for seed in range(episodes)]


def returns(played):
    return [trajectory.episode_return for trajectory in played]


@pytest.mark.parametrize("reuse", [True, False])
def test_tree_search_catches_every_ball(reuse):
    assert returns(catch(MCTSAgent(CatchWorldModel(), reuse_tree=reuse))) == [1.0] * 8


def test_the_cross_entropy_method_catches_every_ball():
    assert (
        returns(catch(CEMAgent(CatchWorldModel(), CEMConfig(horizon=7, population=64))))
        == [1.0] * 8
    )


def test_following_a_path_searches_less_often():
    config = MCTSConfig(200, backup="max", keep_rollouts=True, exploration=0.3)
    played = catch(MCTSAgent(CatchWorldModel(), config, follow=3), 4)
    assert returns(played) == [1.0] * 4
    sources = [transition.decision.source for transition in played[0].transitions]
    assert sources.count(Source.POLICY) < len(sources) and Source.BUFFER in sources


def test_a_seed_repeats_an_episode():
    first, second = (catch(MCTSAgent(CatchWorldModel(), MCTSConfig(16)), 1)[0] for _ in range(2))
    assert [t.decision for t in first.transitions] == [t.decision for t in second.transitions]


def test_the_vlm_as_prior_of_the_search():
    vlm = SayingVLM("", capabilities={"scores"}, scores=[0.0, 5.0, 0.0])
    agent = VLMPriorMCTSAgent(vlm, CatchWorldModel(), MCTSConfig(12, rule="puct", rollout_steps=0))
    (played,) = catch(agent, 1)
    assert played.transitions[0].decision.action == 1 and len(vlm.requests) == played.length


def test_scores_that_are_no_numbers_leave_the_search_alone():
    vlm = SayingVLM("", capabilities={"scores"}, scores=[np.nan, 0.0, 0.0])
    played = catch(VLMPriorMCTSAgent(vlm, CatchWorldModel()), 3)
    assert returns(played) == [1.0] * 3
    assert played[0].transitions[0].decision.problems


def test_the_vlms_plans_begin_the_cross_entropy_method():
    vlm = SayingVLM(json.dumps({"plans": [["LEFT"] * 7, ["RIGHT"] * 7]}))
    agent = VLMPlansCEMAgent(
        vlm, CatchWorldModel(), CEMConfig(horizon=7, population=64), num_plans=2
    )
    played = catch(agent, 2)
    assert returns(played) == [1.0] * 2 and len(vlm.requests) == sum(
        trajectory.length for trajectory in played
    )


def test_bad_arguments_are_refused():
    with pytest.raises(NotSupportedError):
        VLMPriorMCTSAgent(SayingVLM(""), CatchWorldModel())
    with pytest.raises(ConfigError):
        VLMPriorMCTSAgent(SayingVLM("", capabilities={"scores"}), CatchWorldModel(), MCTSConfig())
    with pytest.raises(ConfigError):
        MCTSAgent(CatchWorldModel(), follow=0)


@pytest.mark.parametrize(("off_by", "is_kept"), [(0.0, True), (1e-6, True), (1e-2, False)])
def test_a_tree_is_kept_only_where_its_predicted_state_is_the_real_one(off_by, is_kept):
    env = gymnasium.make("CartPole-v1")  # rewards and ends are the same for a long time
    agent = MCTSAgent(CartPole(), MCTSConfig(num_simulations=20, batch_size=1))
    observation, _ = env.reset(seed=0)
    agent.reset(seed=0)
    visits = []
    for step in range(4):
        decision = agent.act(observation.astype(np.float64))
        visits.append(sum(decision.details["visits"]))
        observation, reward, *_ = env.step(decision.action)
        observation = observation + off_by * (step + 1)
        agent.observe(Transition(None, decision, float(reward), None, False, False, {}))
    assert visits[0] == 20 and all((count > 20) == is_kept for count in visits[1:])

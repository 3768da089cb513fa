import json

import numpy as np
import pytest
from agent_fakes import NAMES, SayingVLM, see
from PIL import Image

from atari_vlm.agents import ActionBuffer, VLMWorldModelAgent
from atari_vlm.agents.plan_judge import PlanOptions
from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError
from atari_vlm.runs.rollout import play_episode
from atari_vlm.types import Decision, Reply, Source, Transition
from atari_vlm.vlm.base import NoScores
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.world_models.base import ModelStep
from atari_vlm.wrappers import TextDescription, WorldModelEnv


class GoodAmongBad(NoScores):
    """Reads Catch's picture and proposes one plan that catches the ball, at a random place among two that miss it."""

    name, capabilities = "good-among-bad", frozenset({"schema"})

    def __init__(self, seed=0):
        self.calls, self.rng = 0, np.random.default_rng(seed)

    def complete(self, messages, *, sampling):
        self.calls += 1
        cells = messages[-1].images[-1].pixels[4::8, 4::8]
        ball = (cells == 236).all(-1).ravel().argmax() % 8
        paddle = (cells[-1] == [92, 186, 92]).all(-1).argmax()
        towards, away = ("RIGHT", "LEFT") if ball > paddle else ("LEFT", "RIGHT")
        good = ([towards] * abs(int(ball) - int(paddle)) + ["NOOP"] * 7)[:7]
        plans = [good, [away] * 7, [away] * 6 + ["NOOP"]]
        self.rng.shuffle(plans)
        return Reply(
            json.dumps({"reasoning": "", "plans": [{"actions": plan} for plan in plans]}), self.name
        )


def catch_returns(episodes=24, *, model=True, buffer=True):
    env, vlm = TextDescription(WorldModelEnv(CatchWorldModel()), "Catch"), GoodAmongBad()
    agent = VLMWorldModelAgent(
        vlm,
        world_model=CatchWorldModel(),
        use_world_model=model,
        plan_horizon=7,
        action_buffer=ActionBuffer() if buffer else None,
    )
    played = [play_episode(env, agent, seed=seed) for seed in range(episodes)]
    return [trajectory.episode_return for trajectory in played], vlm.calls


def test_the_model_picks_the_good_plan_and_the_buffer_saves_calls():
    returns, calls = catch_returns()
    assert returns == [1.0] * 24 and calls == 24
    assert catch_returns(6, buffer=False) == ([1.0] * 6, 42)


def test_without_the_model_a_third_of_the_plans_is_good():
    returns, _ = catch_returns(120, model=False)
    assert 0.2 < np.mean(np.array(returns) == 1) < 0.47


class Told:
    """A world model that predicts ``rewards[action]`` and nothing else."""

    import gymnasium

    observation_space = gymnasium.spaces.Box(0, 255, (12, 16, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(len(NAMES))
    frame_skip = 1

    def __init__(self, rewards, transform="none"):
        self.rewards, self.reward_transform = (
            np.resize(np.array(rewards, np.float32), len(NAMES)),
            transform,
        )

    def init(self, observations, actions, *, rng):
        return np.array(observations[:, -1])

    def step(self, state, action, *, rng):
        return ModelStep(state, self.rewards[action], np.zeros(len(state), bool))

    def decode(self, state):
        return state


def plans(*actions):
    return json.dumps({"reasoning": "why", "plans": [{"actions": list(plan)} for plan in actions]})


def agent_of(*replies, rewards=(0, 1), horizon=3, buffer=True, **options):
    vlm = SayingVLM(*replies)
    threshold = options.pop("threshold", 0.0)
    agent = VLMWorldModelAgent(
        vlm,
        world_model=Told(rewards, options.pop("transform", "none")),
        plan_horizon=horizon,
        num_plans=2,
        action_buffer=ActionBuffer(4, threshold) if buffer else None,
        options=PlanOptions(**options),
    )
    return agent, vlm


def happens(agent, decision, reward=0.0, *, over=False, lives=3, picture=None):
    following = see(1) if picture is None else {**see(1), "image": picture}
    agent.observe(Transition(see(0), decision, reward, following, over, False, {"lives": lives}))


GOOD = plans(["FIRE", "FIRE", "FIRE"], ["NOOP", "NOOP", "NOOP"])


def test_one_call_a_plan_request_and_the_plan_is_followed():
    agent, vlm = agent_of(GOOD)
    for step in range(3):
        decision = agent.act(see(step))
        assert decision.action == 1 and decision.source is (Source.BUFFER if step else Source.MODEL)
        happens(agent, decision, 1.0)
    assert len(vlm.requests) == 1 and decision.details["requests_saved"] == 2
    agent.act(see(3))
    assert len(vlm.requests) == 2  # the waiting plan promises nothing


@pytest.mark.parametrize(
    "what", [{"reward": 0.0}, {"reward": 1.0, "over": True}, {"reward": 1.0, "lives": 2}]
)
def test_surprise_and_life_loss_clear_the_buffer(what):
    agent, vlm = agent_of(GOOD)
    happens(agent, agent.act(see(0)), 1.0)
    happens(agent, agent.act(see(1)), **what)
    assert agent.buffer.is_empty()
    agent.act(see(2))
    assert len(vlm.requests) == 2


def test_a_picture_can_be_a_surprise():
    agent, _ = agent_of(GOOD, picture_tolerance=5.0)
    happens(agent, agent.act(see(0)), 1.0, picture=see(0)["image"] + np.uint8(3))
    assert not agent.buffer.is_empty()
    happens(agent, agent.act(see(0)), 1.0, picture=see(0)["image"] + np.uint8(200))
    assert agent.buffer.is_empty()


def test_a_reset_clears_the_buffer():
    agent, vlm = agent_of(GOOD)
    agent.act(see(0))
    agent.reset(seed=1)
    assert agent.buffer.is_empty()
    agent.act(see(0))
    assert len(vlm.requests) == 2


def test_clipped_rewards_are_compared_clipped():
    agent, _ = agent_of(GOOD, transform="sign")
    happens(agent, agent.act(see(0)), 400.0)
    assert not agent.buffer.is_empty()


def test_only_so_much_of_a_plan_is_followed():
    agent, vlm = agent_of(GOOD, follow=2)
    sources = []
    for step in range(4):
        decision = agent.act(see(step))
        sources.append(decision.source)
        happens(agent, decision, 1.0)
    assert sources == [Source.MODEL, Source.BUFFER] * 2 and len(vlm.requests) == 2


def test_waiting_plans_that_promise_reward_are_judged_again_without_a_call():
    agent, vlm = agent_of(plans(["FIRE"] * 3, ["FIRE", "FIRE", "NOOP"]))
    for step in range(6):
        happens(agent, agent.act(see(step)), 1.0 if step != 5 else 0.0)
    assert len(vlm.requests) == 1


def test_a_plan_below_the_threshold_is_played_for_one_step_only():
    agent, vlm = agent_of(GOOD, threshold=10.0)
    for step in range(3):
        happens(agent, agent.act(see(step)), 1.0)
    assert len(vlm.requests) == 3 and agent.buffer.is_empty()


def test_bad_plans_are_asked_again_then_repaired():
    agent, vlm = agent_of(plans(["FIRE"]), plans(["FIRE"], ["JUMP"], []))
    decision = agent.act(see(0))
    assert len(vlm.requests) == 2 and len(decision.problems) == 2
    assert decision.proposal.actions == (1, 0, 0) and decision.details["repaired"] == 3


def test_no_plan_at_all_is_a_counted_fallback():
    agent, _ = agent_of("no idea")
    decision = agent.act(see(0))
    assert (
        decision.source is Source.FALLBACK and decision.action == 0 and len(decision.replies) == 2
    )


def test_plans_without_a_number_are_never_played():
    agent, _ = agent_of(plans(["FIRE"] * 3, ["FIRE", "UP", "UP"]), rewards=[0, np.nan, 0])
    decision = agent.act(see(0))
    assert (
        decision.source is Source.FALLBACK
        and decision.action == 0
        and "no number" in decision.problems[-1]
    )
    agent, _ = agent_of(plans(["FIRE"] * 3, ["NOOP"] * 3), rewards=[0, np.nan, 0])
    assert agent.act(see(0)).action == 0


def test_illegal_actions_put_into_the_buffer_by_hand_are_not_played():
    agent, vlm = agent_of(GOOD)
    agent.buffer.add_plan([77, 77, 77], 99.0)
    assert agent.act(see(0)).action == 1 and len(vlm.requests) == 1


def test_the_source_systems_call(tmp_path):
    env = TextDescription(WorldModelEnv(CatchWorldModel()), "Catch")
    agent = VLMWorldModelAgent(
        model_name="rand",
        model=None,
        system_message=None,
        env=env,
        tokenizer=None,
        world_model=None,
        device="cuda:0",
        use_world_model=False,
        plan_horizon=4,
        num_plans=2,
        action_buffer=ActionBuffer(max_buffer_size=10, score_threshold=0.0),
    )
    observation, _ = env.reset(seed=0)
    path = tmp_path / "frame.png"
    Image.fromarray(np.asarray(observation["image"])).save(path)
    action, response = agent.generate_response(str(path))
    assert action in range(3) and response["from_buffer"] is False and response["action"] == action
    _, response = agent.generate_response(str(path))
    assert response["from_buffer"] is True and response["buffer_status"]["max_size"] == 10


def test_bad_arguments_are_refused():
    vlm = SayingVLM(GOOD)
    for wrong in ({}, {"vlm": vlm, "model_name": "rand"}, {"vlm": vlm, "num_plans": 0}):
        with pytest.raises(ConfigError):
            VLMWorldModelAgent(**wrong)
    with pytest.raises(ConfigError):
        VLMWorldModelAgent(vlm).generate_response("nowhere.png")
    with pytest.raises(UnknownNameError):
        PlanOptions(follow="half")
    for wrong in ({"follow": 0}, {"discount": 0.0}, {"pessimism": -1.0}, {"num_futures": 0}):
        with pytest.raises(ConfigError):
            PlanOptions(**wrong)
    model = CatchWorldModel(rows=9)
    with pytest.raises((ConfigError, MismatchError)):
        VLMWorldModelAgent(vlm, world_model=model).act(see(0))
    assert isinstance(VLMWorldModelAgent(vlm, use_world_model=False).act(see(0)), Decision)

"""The shipped agents in the real environment, held to the agent protocol."""

import itertools

import gymnasium
import pytest
from agent_fakes import SayingVLM

import atari_vlm  # noqa: F401  (registers the ids)
from atari_vlm.agents import RandomAgent, VLMAgent
from atari_vlm.agents.simple import NoopAgent
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.checker import check_agent
from atari_vlm.types import Source

REPLIES = ["ACTION: FIRE", "?", "?", '{"action": "LEFT"}', "RIGHT"]
OPTIONS = VLMAgentOptions(
    fallback="random", turns=2, turn_images=1, frame_layout="strip", overlay=True
)
MAKERS = {
    "random": RandomAgent,
    "noop": NoopAgent,
    "vlm": lambda: VLMAgent(SayingVLM(*REPLIES), options=OPTIONS),
    "scores": lambda: VLMAgent(
        SayingVLM("", capabilities=["scores"], scores=[-1] * 4),
        options=VLMAgentOptions(temperature=1),
    ),
}


@pytest.mark.parametrize(
    "flavour", [{}, {"image_format": "numpy"}, {"grayscale": True}, {"frame_stack": 1}]
)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_agents_keep_the_protocol(make, flavour):
    env = gymnasium.make("AtariVLM/Breakout-v5", **flavour)
    check_agent(make, env, steps=12)
    env.close()


def test_pil_and_numpy_observations_make_the_same_requests():
    def keys(image_format):
        env = gymnasium.make("AtariVLM/Breakout-v5", image_format=image_format)
        agent = VLMAgent(SayingVLM(*REPLIES), options=OPTIONS)
        agent.reset(seed=1)
        observation, _ = env.reset(seed=1)
        for _ in range(8):
            observation, *_ = env.step(agent.act(observation).action)
        env.close()
        return agent.vlm.keys

    assert keys("pil") == keys("numpy")


def test_the_constant_prefix_is_byte_identical_in_the_real_game():
    env = gymnasium.make("AtariVLM/Breakout-v5")
    agent = VLMAgent(SayingVLM("ACTION: FIRE"))
    observation, _ = env.reset(seed=1)
    for _ in range(10):
        decision = agent.act(observation)
        assert decision.source is Source.MODEL
        observation, *_ = env.step(decision.action)
    env.close()
    assert len({request[0].text for request, _ in agent.vlm.requests}) == 1
    pictures = [request[-1].images for request, _ in agent.vlm.requests]
    assert all(image.indices is not None for shown in pictures for image in shown)
    assert all(before[1] is after[0] for before, after in itertools.pairwise(pictures))

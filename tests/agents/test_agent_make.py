import gymnasium
import numpy as np
import pytest
from agent_fakes import SayingVLM, see

from atari_vlm import agents
from atari_vlm.agents import RandomAgent, VLMAgent, make_agent
from atari_vlm.agents.base import Agent
from atari_vlm.agents.make import agent_names
from atari_vlm.agents.simple import NoopAgent
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError
from atari_vlm.types import Source

BOX = np.zeros((84, 84, 3), np.uint8)
VENDORS = {
    "GPT4VAgent": "gpt-4o",
    "ClaudeAgent": "claude",
    "GeminiAgent": "gemini",
    "QwenVLAgent": "Qwen/Qwen2-VL-7B-Instruct",
    "LlavaAgent": "llava-hf/llava-v1.6-mistral-7b-hf",
    "CogVLM2Agent": "THUDM/cogvlm2-llama3-chat-19B",
    "VideoLlavaAgent": "LanguageBind/Video-LLaVA-7B-hf",
    "Idefics2Agent": "HuggingFaceM4/idefics2-8b",
}


def test_random_is_uniform_seeded_and_legal():
    def actions(agent, seed, observation):
        agent.reset(seed=seed)
        return [agent.act(observation).action for _ in range(900)]

    by_list, by_space = (
        RandomAgent(),
        RandomAgent(action_space=gymnasium.spaces.Discrete(9, start=2)),
    )
    assert actions(by_list, 1, see()) == actions(by_list, 1, see()) != actions(by_list, 2, see())
    assert np.bincount(actions(by_list, 1, see())).min() > 60
    assert set(actions(by_space, 1, BOX)) == set(range(2, 11))
    assert [RandomAgent(7).act(see()).action for _ in range(3)] == [
        RandomAgent(7).act(see()).action
    ] * 3
    assert by_list.act(see()).source is Source.POLICY


def test_noop():
    assert NoopAgent().act(see(names=("FIRE", "NOOP"))).action == 1
    assert NoopAgent().act(see(names=("LEFT", "RIGHT"))).action == 0
    assert NoopAgent(action_space=gymnasium.spaces.Discrete(3, start=5)).act(BOX).action == 5


def test_an_agent_that_knows_no_actions_says_so():
    with pytest.raises(MismatchError, match="action_space"):
        RandomAgent().act(BOX)
    with pytest.raises(ConfigError, match="Discrete"):
        RandomAgent(action_space=gymnasium.spaces.MultiBinary(3))
    parts = gymnasium.spaces.MultiDiscrete([2, 3])
    assert parts.contains(RandomAgent(action_space=parts).act(BOX).action)


@pytest.mark.parametrize("name", ["random", "noop", "scripted", "nearest-example"])
def test_make_agent_offline(name):
    agent = make_agent(name)
    assert isinstance(agent, Agent)
    agent.reset(seed=0)


def test_make_agent_asks_the_vlm_it_is_given():
    vlm = SayingVLM("ACTION: LEFT")
    agent = make_agent("gpt-4o", vlm=vlm, prompt_type="basic", options=VLMAgentOptions(frames=1))
    assert isinstance(agent, VLMAgent)
    assert agent.act(see()).action == 4
    assert len(vlm.requests[0][0][-1].images) == 1


def test_make_agent_refuses_what_it_does_not_know():
    with pytest.raises(UnknownNameError, match="random"):
        make_agent("randon")
    with pytest.raises(ConfigError, match="vlm"):
        make_agent("random", vlm=SayingVLM("UP"))
    with pytest.raises(ConfigError, match="model"):
        make_agent("noop", model="gpt-4o")
    assert {"random", "noop", "scripted", "gpt-4o", "replay"} <= set(agent_names())


@pytest.mark.parametrize(("name", "model"), VENDORS.items())
def test_vendor_agents_load_their_vlm(name, model):
    agent = getattr(agents, name)(
        "key", base_url="http://127.0.0.1:9/v1", frames=3, prompt_type="basic", image_detail="auto"
    )
    assert isinstance(agent, VLMAgent) and isinstance(agent, Agent)
    assert model in agent.vlm.name
    assert (agent.options.frames, agent.prompt_type) == (3, "basic")
    other = getattr(agents, name)("key", model="some-newer-model", base_url="http://127.0.0.1:9/v1")
    assert "some-newer-model" in other.vlm.name


def test_vendor_agents_refuse_unknown_options():
    with pytest.raises(ConfigError, match="framez"):
        agents.GPT4VAgent("key", framez=3)
    with pytest.raises(ConfigError, match="frames"):
        agents.GPT4VAgent("key", frames=-3)


def test_options_are_merged_with_single_keywords():
    agent = agents.GPT4VAgent("key", options=VLMAgentOptions(frames=4, turns=1), turns=2)
    assert (agent.options.frames, agent.options.turns) == (4, 2)


def test_a_scripted_agent_plays_the_real_game():
    import atari_vlm  # noqa: F401

    env = gymnasium.make("AtariVLM/Pong-v5")
    agent = agents.ScriptedAgent()
    agent.reset(seed=0)
    observation, _ = env.reset(seed=0)
    sources = set()
    for _ in range(40):
        decision = agent.act(observation)
        sources.add(decision.source)
        observation, *_ = env.step(decision.action)
    env.close()
    assert sources == {Source.MODEL}


def test_simple_agents_play_continuous_actions():
    space = gymnasium.spaces.Box(np.array([-1, 2], np.float32), np.array([1, 3], np.float32))
    agent = RandomAgent(7, action_space=space)
    actions = np.stack([agent.act(None).action for _ in range(50)])
    assert actions.dtype == np.float32 and actions.shape == (50, 2)
    assert all(space.contains(action) for action in actions) and actions.std(0).min() > 0.1
    still = NoopAgent(action_space=space).act(None).action
    assert still.dtype == np.float32 and still.tolist() == [0.0, 2.0]

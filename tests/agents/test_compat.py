"""The seed's calls, word for word."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from agent_fakes import SayingVLM
from PIL import Image

import atari_vlm
from atari_vlm.agents import ActionBuffer, VLMWorldModelAgent, WorldModelAgent
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.wrappers import TextDescription, WorldModelEnv

PLANS = '{"reasoning": "so", "plans": [["RIGHT", "LEFT", "NOOP"], ["LEFT", "LEFT", "LEFT"]]}'


def catch(render_mode="rgb_array"):
    env = TextDescription(WorldModelEnv(CatchWorldModel(), render_mode=render_mode), "Catch")
    env.reset(seed=0)
    return env


def agent_of(env, **options):
    return VLMWorldModelAgent(SayingVLM(PLANS), env=env, plan_horizon=3, num_plans=2, **options)


@pytest.mark.parametrize(
    ("names", "served"),
    [
        ({"model_name": "gpt-4o-2024-11-20", "model": "gpt4o"}, "gpt-4o-2024-11-20"),
        ({"model_name": "gpt4o", "model": "gpt-4o-2024-11-20"}, "gpt-4o-2024-11-20"),
        ({"model_name": "gpt4"}, None),
        ({"model": "gpt4o"}, None),
        ({"model_name": "claude-x", "model": "claude"}, "claude-x"),
    ],
)
def test_the_two_names_in_either_order(monkeypatch, names, served):
    for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(key, "no-key")
    env = gymnasium.make("AtariVLM/Pong-v5")
    with pytest.warns(UserWarning, match="tokenizer is not used"):
        agent = VLMWorldModelAgent(**names, tokenizer=object(), device="cuda:0", env=env)
    assert served is None or served in (agent.vlm.name + str(getattr(agent.vlm, "model", "")))
    env.close()


def test_a_name_that_is_none_offers_the_nearest():
    with pytest.raises(UnknownNameError):
        VLMWorldModelAgent(model_name="no-such-model")
    for wrong in ({}, {"vlm": SayingVLM(PLANS), "model": "gpt4o"}):
        with pytest.raises(ConfigError, match="either vlm or model_name"):
            VLMWorldModelAgent(**wrong)


def test_the_output_folder_is_made_and_receives_the_replies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = catch()
    agent = agent_of(env, world_model=CatchWorldModel())
    for step in range(1, 3):
        action, response = agent.generate_response("./output_path")
        assert (
            response["action"] == action
            and response["reasoning"] == "so"
            and not response["from_buffer"]
        )
        assert (tmp_path / "output_path" / "all_responses.txt").read_text() == f"{PLANS}\n\n" * step
        env.step(action)
    np.testing.assert_array_equal(agent.vlm.requests[0][0][-1].images[-1].pixels, catch().render())
    agent = agent_of(env, action_buffer=ActionBuffer(max_buffer_size=10, score_threshold=0.0))
    sources = [
        agent.generate_response(tmp_path / "deep" / "er")[1]["from_buffer"] for _ in range(3)
    ]
    assert sources == [False, True, True]
    assert (tmp_path / "deep" / "er" / "all_responses.txt").read_text() == f"{PLANS}\n\n"


def test_what_it_answered_counts_as_played(tmp_path):
    class TwoPictures(CatchWorldModel):
        context_length, contexts = 2, ()

        def init(self, observations, actions, *, rng):
            self.contexts = (*self.contexts, actions[0].tolist())
            return super().init(observations, actions, rng=rng)

    env, model = catch(), TwoPictures()
    agent, played = agent_of(env, world_model=model), []
    for _ in range(3):
        played.append(agent.generate_response(tmp_path)[0])
        env.step(played[-1])
    assert model.contexts == ([], played[:1], played[1:2])


def test_pictures_and_what_is_missing(tmp_path):
    env = catch()
    Image.fromarray(env.render()).save(tmp_path / "frame.png")
    assert agent_of(env).generate_response(tmp_path / "frame.png")[0] == 1
    with pytest.raises(ConfigError, match="there is no picture"):
        agent_of(env).generate_response(tmp_path / "other.png")
    with pytest.raises(ConfigError, match="render_mode='rgb_array'"):
        agent_of(catch(None)).generate_response(tmp_path)
    with pytest.raises(ConfigError, match="needs env="):
        agent_of(None).generate_response(tmp_path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "all_responses.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        agent_of(env).generate_response(tmp_path / "linked")
    assert not (tmp_path / "elsewhere").exists()


def test_the_screen_of_an_emulator_without_a_render_mode(tmp_path):
    env = gymnasium.make("AtariVLM/Breakout-v5", render_mode=None)
    env.reset(seed=0)
    plans = '{"plans": [["FIRE", "LEFT", "NOOP"], ["LEFT", "LEFT", "LEFT"]]}'
    agent = VLMWorldModelAgent(SayingVLM(plans), env=env, plan_horizon=3, num_plans=2)
    assert agent.generate_response(tmp_path / "run")[0] == 1
    assert agent.vlm.requests[0][0][-1].images[-1].pixels.shape == (210, 160, 3)
    env.close()


def test_the_agent_itself_shows_what_it_needs():
    agent = WorldModelAgent(SayingVLM(PLANS), num_plans=2, plan_horizon=3, prompt_type="basic")
    assert agent.world_model is None and not hasattr(agent, "generate_response")


def test_everything_is_to_be_had_from_the_package():
    for face in ("agents", "wrappers"):
        shown = getattr(__import__(f"atari_vlm.{face}"), face)
        assert set(shown.__all__) <= set(atari_vlm.__all__)
        for name in shown.__all__:
            assert getattr(atari_vlm, name) is getattr(shown, name)
    for name in atari_vlm.__all__:
        assert getattr(atari_vlm, name) is not None
    code = (
        "import sys; from atari_vlm import GPT4VAgent, VLMWorldModelAgent, ActionBuffer, cem, load_vlm, aggregate\n"
        "assert not {'torch', 'transformers', 'openai', 'anthropic'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

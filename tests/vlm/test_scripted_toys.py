"""The bundled player of the toy games plays them perfectly, from pictures of any cell size."""

import pytest

from atari_vlm.agents import VLMAgent
from atari_vlm.runs.environments import described, make_env
from atari_vlm.runs.game_names import game_name
from atari_vlm.runs.rollout import play_episode
from atari_vlm.vlm.scripted import ScriptedVLM
from atari_vlm.world_models import CatchWorldModel, SoloPongWorldModel
from atari_vlm.wrappers import WorldModelEnv


def returns(env, seeds=range(12)):
    agent = VLMAgent(ScriptedVLM(), prompt_type="basic")
    played = [play_episode(env, agent, seed=seed) for seed in seeds]
    assert all(episode.fallback_rate == 0 for episode in played)
    return {episode.episode_return for episode in played}


def test_every_ball_is_caught_and_returned():
    assert returns(make_env({"game_name": "Catch"})) == {1.0}
    assert returns(make_env({"game_name": "SoloPong"})) == {3.0}


@pytest.mark.parametrize("cell_px", [4, 13])
def test_other_sizes_are_played_too(cell_px):
    catch = WorldModelEnv(CatchWorldModel(6, 5, cell_px=cell_px, num_balls=3))
    assert returns(described(catch, "Catch")) == {3.0}
    pong = WorldModelEnv(SoloPongWorldModel(10, 7, cell_px=cell_px))
    assert returns(described(pong, "SoloPong")) == {3.0}


def test_one_paddle_pong_has_one_name():
    assert {game_name(word) for word in ("SoloPong", "solo-pong", "solopong")} == {"SoloPong"}

"""``AtariVLM/<Game>-Code-v5`` of the six games: gymnasium's checker, the real game's spaces, what ``render`` draws, who plays."""

import warnings

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env

from atari_vlm.agents import ScriptedAgent, VLMAgent
from atari_vlm.errors import ConfigError
from atari_vlm.objects.tables import TABLES
from atari_vlm.runs.rollout import play_episode
from atari_vlm.types import Reply
from atari_vlm.vlm.base import NoScores
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.code import CodeWorldModel, LocalProgram
from atari_vlm.world_models.code.shipped import table_space
from atari_vlm.wrappers import AtariObjects

gymnasium.register_envs(ale_py)
LOCAL = {"unsafe_local_code": True}  # our own programs: no process is started for them
OTHERS = ["Breakout", "Freeway", "Skiing", "Boxing", "MontezumaRevenge"]
SMALL = """
import numpy as np


class Environment:
    \"\"\"Everything goes on as it moves; the first object is drawn white, the others grey.\"\"\"

    def set_state(self, state):
        self.state = np.array(state)

    def step(self, action):
        for at in range(0, 7 * OBJECTS, 7):
            self.state[at] += 4 * self.state[at + 4]
            self.state[at + 1] += 4 * self.state[at + 5]
        return self.state, float(action == 0), False

    def render(self, state):
        screen = np.zeros((210, 160, 3), np.uint8)
        for at in reversed(range(0, 7 * OBJECTS, 7)):
            x, y, width, height = (int(v) for v in np.clip(state[at : at + 4], 0, 210))
            screen[y : y + height, x : x + width] = 255 if at == 0 else 128
        return screen
"""


@pytest.fixture(scope="module", params=OTHERS)
def saved(request, tmp_path_factory):
    """A game, its checkpoint, and the picture of its first state."""
    game = request.param
    env = AtariObjects(gymnasium.make(f"ALE/{game}-v5"))
    table = env.reset(seed=0)[1]["object_table"]
    model = CodeWorldModel(
        LocalProgram(SMALL.replace("OBJECTS", str(len(TABLES[game].kinds)))),
        observation_space=Box(0, 255, (210, 160, 3), np.uint8),
        context_space=table_space(game),
        action_space=Discrete(env.action_space.n),
        action_names=env.unwrapped.get_action_meanings(),
        start=StartFrames(table[None, None], np.zeros((1, 0), np.int64)),
        frame_skip=4,
        game=game,
    )
    folder = model.save(tmp_path_factory.mktemp("code") / game)
    state = model.init(table[None, None], np.zeros((1, 0), np.int64), rng=np.random.default_rng(0))
    return game, str(folder), model.decode(state)[0]


def check_quietly(env):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
    assert [str(each.message) for each in said] == []


def check_spaces(game, env):
    with gymnasium.make(f"AtariVLM/{game}-v5") as real:
        assert (env.observation_space, env.action_space) == (
            real.observation_space,
            real.action_space,
        )


def test_a_program_of_one_s_own_is_a_game(saved):
    game, folder, picture = saved
    with gymnasium.make(
        f"AtariVLM/{game}-Code-v5", checkpoint=folder, render_mode="rgb_array", model_options=LOCAL
    ) as env:
        check_quietly(env)
        check_spaces(game, env)
        env.reset(seed=0)
        screen = env.render()
        assert screen.shape[1:] == picture.shape[1:] and screen.any()
        assert screen.shape != picture.shape or np.array_equal(screen, picture)


def test_the_golden_pong_is_a_game():
    with gymnasium.make("AtariVLM/Pong-Code-v5", render_mode="rgb_array") as env:
        check_quietly(env)
        check_spaces("Pong", env)
        env.reset(seed=0)
        for _ in range(20):
            observation, *_ = env.step(3)
        drawn = env.unwrapped.world_model.decode(env.unwrapped.state)[0]
        assert np.array_equal(env.render(), drawn) and np.array_equal(
            observation["frames"].shape[1:], (224, 224, 3)
        )
    dreams = gymnasium.make_vec("AtariVLM/Pong-Code-v5", 2)
    assert dreams.reset(seed=0)[0].shape[0] == 2
    dreams.close()


@pytest.mark.parametrize("game", OTHERS)
def test_without_a_checkpoint_it_says_what_it_needs(game):
    with pytest.raises(ConfigError, match=f"a dreamed {game} needs checkpoint=PATH"):
        gymnasium.make(f"AtariVLM/{game}-Code-v5")


class Upwards(NoScores):
    """A model that wants up, and says so in words."""

    name, capabilities = "upwards", frozenset()

    def complete(self, messages, *, sampling):
        return Reply('{"reasoning": "the ball is above", "action": 2}', self.name)


@pytest.mark.parametrize("agent", [ScriptedAgent, lambda: VLMAgent(Upwards(), prompt_type="basic")])
def test_agents_of_pictures_play_in_it(agent):
    with gymnasium.make("AtariVLM/Pong-Code-v5", prompt_type="basic", model_options=LOCAL) as env:
        actions = []
        played = play_episode(
            env,
            agent(),
            seed=0,
            max_steps=40,
            on_step=lambda step: actions.append(step.decision.action),
        )
        assert played.length == 40 and played.fallback_rate == 0.0
        assert set(actions) <= set(range(6)) and any(actions)

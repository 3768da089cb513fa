"""Programs about object tables: what a writer is told, a whole search, and how far what it found can be trusted."""

import ale_py
import gymnasium
import numpy as np
import pytest
from search_helpers import Writer, reply

from atari_vlm import codewm
from atari_vlm.errors import UnknownNameError
from atari_vlm.objects.tables import TABLES
from atari_vlm.synthesis import SearchConfig, search
from atari_vlm.synthesis.benchmark.catalogue import env_of_buffer, find_env
from atari_vlm.synthesis.benchmark.collecting import fill_replay_buffer
from atari_vlm.world_models.code import LocalProgram, golden, score_program
from atari_vlm.world_models.code.fidelity import fidelity
from atari_vlm.wrappers import ObjectTable

gymnasium.register_envs(ale_py)
ID = "AtariVLM/Pong-Objects-v5"
STAYS = """
class Environment:
    def set_state(self, state):
        self.state = state

    def step(self, action):
        return self.state, 0.0, False
"""


@pytest.fixture(scope="module")
def program():
    with golden("Pong", unsafe_local_code=True) as model:
        return model.program


@pytest.fixture(scope="module")
def buffer(tmp_path_factory):
    return fill_replay_buffer("Pong", 150, tmp_path_factory.mktemp("b"), "pong", seed=1)


def test_a_game_s_name_is_its_table():
    for name in ("Pong", "Pong-v5", ID):
        assert find_env(name).env_id == ID
    assert env_of_buffer(ID).env_id == ID and env_of_buffer("ALE/Pong-v5") is None
    with pytest.raises(UnknownNameError):
        find_env("Alien")


def test_a_table_is_an_observation():
    env = gymnasium.make(ID)
    row, info = env.reset(seed=0)
    assert env.observation_space.contains(row) and "object_table" not in info
    assert (
        gymnasium.make(env.spec.id, repeat_action_probability=0.25).spec.kwargs[
            "repeat_action_probability"
        ]
        == 0.25
    )
    wrapped = ObjectTable(gymnasium.make("ALE/Pong-v5", repeat_action_probability=0.0))
    assert np.array_equal(wrapped.reset(seed=0)[0], row)
    for action in (3, 3, 2):
        assert np.array_equal(env.step(action)[0], wrapped.step(action)[0])
    with pytest.raises(UnknownNameError, match="Alien"):
        ObjectTable(gymnasium.make("ALE/Alien-v5"))


@pytest.mark.parametrize("game", ["Pong", "MontezumaRevenge"])
def test_a_writer_is_told_of_every_column(game):
    told, table = find_env(game).description, TABLES[game]
    assert f"{len(table.columns)} numbers" in told and "0: NOOP" in told
    first = len(table.kinds) * 7
    for at, name in enumerate(table.hidden):
        assert f"- {first + at}: {name}" in told
    for at, name in enumerate(table.kinds):
        assert f"- {7 * at} to {7 * at + 6}: {name}" in told


def test_a_search_finds_the_program_of_a_game(buffer, program, tmp_path):
    replies = [reply(STAYS), reply("no program"), reply(program)]
    writer = Writer(lambda number, *_: replies[min(number, 3) - 1])
    config = SearchConfig(method="worldcoder", budget=3, unsafe_local_code=True)
    found = search(writer, buffer, config, folder=tmp_path / "run")
    assert found.program.strip() == program.strip() and found.score > 0.95
    assert (
        "34: your knob" in writer.asked[0][0] and "RIGHT, move the paddle up" in writer.asked[0][0]
    )
    assert (tmp_path / "run" / "checkpoint" / "program.py").exists()


def test_its_fidelity_is_measured_by_the_same_scorers(buffer, program):
    good = score_program(program, buffer, unsafe_local_code=True)
    bad = score_program(STAYS, buffer, unsafe_local_code=True)
    assert good.score > 0.95 > bad.score
    assert good.events["reward=-1"].recall == 1.0 and bad.events["reward=-1"].recall == 0.0
    assert good.fields["next_state/21"] == good.fields["next_state/22"] == 1.0
    with LocalProgram(program) as runner:
        ahead = fidelity(runner, buffer, ahead=(1, 5), most=60)
    assert ahead[1].state > 0.9 and ahead[5].state > 0.6 and ahead[5].rewards == 1.0


def test_the_command_asks_for_a_writer_that_knows_the_game(tmp_path, capsys):
    assert codewm.main(["search", "--env", "Pong", "--save_dir", str(tmp_path)]) == 2
    assert "Pong-Objects-v5: choose a model" in capsys.readouterr().err

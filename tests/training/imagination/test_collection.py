"""Games side by side: lanes that go on with the next game, several collected from at once, and their exact state."""

import field_games
import gymnasium
import numpy as np
import pytest
import torch

from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError
from atari_vlm.experience.episode_files import read_data_set, write_episodes
from atari_vlm.experience.replay import Column, Replay
from atari_vlm.training.imagination.collection import Collector, Exploring, packed, unpacked
from atari_vlm.training.imagination.games import GameConfig, make_game
from atari_vlm.training.imagination.playing import EpisodeKeeper, Playing, play_games
from atari_vlm.world_models.inputs import texts_of
from atari_vlm.world_models.learned.schedule import Play


class Counts:
    """Plays by how many steps it has seen of the episode; its state is a tree of unlike leaves."""

    def __init__(self, space, inputs):
        self.action_space, self.inputs, self.batches = space, inputs, []

    def begin(self, rows):
        return {"seen": np.zeros(rows, np.int64), "last": torch.zeros(rows, 2)}

    def act(self, observations, state, *, generator, temperature):
        self.batches.append(len(state["seen"]))
        assert all(len(array) == self.batches[-1] for array in observations.values())
        seen = state["seen"]
        if isinstance(self.action_space, gymnasium.spaces.Box):
            actions = np.stack([np.cos(seen), np.sin(seen)], 1).astype(np.float32)
        elif isinstance(self.action_space, gymnasium.spaces.MultiDiscrete):
            actions = np.stack([seen // 2 % 2, seen % 3], 1) + self.action_space.start
        else:
            actions = (seen // 2) % 2 + int(self.action_space.start)
        return actions, {**state, "seen": seen + 1}

    def executed(self, actions, state):
        told = np.asarray(actions, np.float32).reshape(len(actions), -1)[:, [0, -1]]
        return {**state, "last": torch.from_numpy(told)}


def game_of(name, inputs=None, **config):
    return make_game(GameConfig(f"Case/{name}-v0", **config), inputs)


def policy_for(name):
    game = game_of(name)
    return Counts(game.action_space, game.facts.inputs)


def test_lanes_go_on_with_the_next_game_and_results_stay_with_their_seeds():
    seeds, watched = list(range(40, 61)), []
    runs, steps = {}, {}
    for lanes in (1, 4, 30):
        policy, watched = policy_for("Lengths"), []
        playing = Playing(
            None, 0.0, lanes, watch=lambda row, step, kept=watched: kept.append((row, step.over))
        )
        runs[lanes] = play_games(lambda: game_of("Lengths"), policy, seeds, playing)
        steps[lanes] = policy.batches
        assert sorted(row for row, over in watched if over) == list(range(len(seeds)))
    assert runs[1] == runs[4] == runs[30] and runs[1].returns == [
        float(length) for length in runs[1].lengths
    ]
    assert len(set(runs[1].lengths)) > 3
    assert all(
        sum(batches) == sum(runs[1].lengths) for batches in steps.values()
    )  # no lane waits for another
    assert steps[30][0] == len(seeds) and steps[4].count(4) > len(steps[4]) / 2
    assert play_games(lambda: game_of("Lengths"), policy, [], playing).returns == []


def test_a_player_begins_every_game_with_a_fresh_state():
    policy, firsts = policy_for("Lengths"), {}
    act = policy.act

    def watch(observations, state, **options):
        for shown, seen in zip(observations["image"], state["seen"].tolist(), strict=True):
            firsts.setdefault(seen, []).append(shown)
        return act(observations, state, **options)

    policy.act = watch
    found = play_games(lambda: game_of("Lengths"), policy, range(11), Playing(None, 0.0, 3))
    assert len(firsts[0]) == 11 and len(firsts[1]) == 11 and max(firsts) == max(found.lengths) - 1


def replay_for(game, envs):
    space = game.action_space
    floats = isinstance(space, gymnasium.spaces.Box)
    action = Column(space.shape, "float32" if floats else "int64")
    return Replay({**game.facts.inputs, "action": action}, 200, num_envs=envs)


@pytest.mark.parametrize("name", ["Lengths", "OneTwo", "Slide", "Nested", "Vector", "Parts"])
@pytest.mark.parametrize("envs", [1, 3])
def test_a_collector_goes_on_exactly_where_its_arrays_were_taken(name, envs):
    def random():
        return np.random.default_rng(1), torch.Generator()

    whole, parts = replay_for(game_of(name), envs), replay_for(game_of(name), envs)
    exploring = Exploring(0.3, 0.0)
    collector = Collector([game_of(name) for _ in range(envs)], policy_for(name), 7)
    one = random()
    first = collector.collect(15 * envs, whole, exploring, one)
    second = collector.collect(15 * envs, whole, exploring, one)
    two = random()
    before = Collector([game_of(name) for _ in range(envs)], policy_for(name), 7)
    assert before.collect(15 * envs, parts, exploring, two) == first
    after = Collector([game_of(name) for _ in range(envs)], policy_for(name), 7)
    after.restore({key: array.copy() for key, array in before.arrays().items()})
    assert after.collect(15 * envs, parts, exploring, two) == second
    for column in whole.columns:
        assert np.array_equal(whole.read(column, whole.kept()), parts.read(column, parts.kept())), (
            column
        )
    assert whole.written == 30 * envs and len(whole.lengths) >= envs
    assert {key: array.tolist() for key, array in after.arrays().items()} == {
        key: array.tolist() for key, array in collector.arrays().items()
    }


def test_another_number_of_games_is_refused():
    arrays = Collector([game_of("Ledge")], policy_for("Ledge"), 0).arrays()
    assert "collector.lengths" not in arrays
    with pytest.raises(MismatchError, match="1 games side by side, the run 2"):
        Collector([game_of("Ledge") for _ in range(2)], policy_for("Ledge"), 0).restore(arrays)
    with pytest.raises(ConfigError, match="steps is a multiple of envs, got 15 steps in 4 games"):
        Play(steps=15, envs=4)


def test_states_are_kept_as_arrays():
    alike = (torch.ones(2, 3), torch.zeros(2, 3))
    arrays = packed(alike)
    assert arrays.keys() == {"collector.memory"} and arrays["collector.memory"].shape == (2, 2, 3)
    again = unpacked(
        {**arrays, "collector.index": np.zeros(2)}, (torch.zeros(2, 3), torch.zeros(2, 3))
    )
    assert torch.equal(again[0], alike[0]) and torch.equal(again[1], alike[1])
    unlike = {"a": np.arange(2), "b": [torch.ones(2, 4)]}
    again = unpacked(packed(unlike), {"a": np.zeros(2, np.int64), "b": [torch.zeros(2, 4)]})
    assert again["a"].tolist() == [0, 1] and torch.equal(again["b"][0], torch.ones(2, 4))
    assert packed(()) == {} and unpacked({}, ()) == ()


def test_what_a_game_of_many_parts_is_known_to_be():
    facts = game_of("Parts").facts
    assert facts.texts == ("hear", "say") and facts.action_names == ()
    assert facts.aliases == {"camera": "image"}
    assert facts.observation_space == field_games.Parts().observation_space
    assert facts.as_config()["action_space"]["nvec"] == [2, 3]
    only = game_of("Parts", keys=("joints", "say")).facts
    assert only.aliases == {"joints": "state", "say": "text"} and only.texts == ("text",)
    nested = game_of("Nested").facts
    assert nested.aliases == {
        "robot/camera": "image",
        "robot/joints": "state",
        "task": "text",
    }
    assert game_of("Vector").facts.aliases == {} and game_of("Ledge").facts.texts == ()


def test_texts_come_back_from_what_was_collected():
    game = game_of("Parts")
    replay = replay_for(game, 2)
    collector = Collector([game_of("Parts") for _ in range(2)], policy_for("Parts"), 7)
    collector.collect(
        20, replay, Exploring(0.3, 0.0), (np.random.default_rng(1), torch.Generator())
    )
    slots = replay.kept()
    told, heard = (texts_of(replay.read(name, slots)) for name in ("say", "hear"))
    floors = replay.read("floor", slots)
    assert told.tolist() == ["left" if floor < 4 else "right" for floor in floors]
    assert set(heard) == {"0", "é", "éé"}
    actions = replay.read("action", slots)
    assert actions.dtype == np.int64 and all(map(game.action_space.contains, actions))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("PartsInTuple", r"with one axis; Case/PartsInTuple-v0 has Tuple\(Discrete\(2\)"),
        ("Unbounded", r"with one axis; Case/Unbounded-v0 has Box\(-inf"),
    ],
)
def test_actions_that_nobody_learns_are_one_sentence_before_anything_is_built(name, said):
    with pytest.raises(ConfigError, match=said):
        game_of(name)


def test_a_key_that_is_not_there_lists_those_that_are():
    with pytest.raises(UnknownNameError, match="camera, floor, hear, joints, say"):
        game_of("Parts", keys=("pixels",))


def test_recorded_play_with_actions_in_parts_is_written_and_read(tmp_path):
    game, kept = game_of("Parts"), EpisodeKeeper(2, 50)
    play_games(
        lambda: game_of("Parts", max_steps=9),
        policy_for("Parts"),
        [1, 2],
        Playing(None, 0.0, watch=kept.see),
    )
    path = tmp_path / "play.npz"
    write_episodes(path, kept.episodes(), game.action_space)
    data = read_data_set(str(path))
    assert data.action_space == game.action_space and data.action_names == ()
    for one, other in zip(data.episodes, kept.episodes(), strict=True):
        assert np.array_equal(one.actions, other.actions) and one.actions.dtype == np.int64
    bare = tmp_path / "bare.npz"
    write_episodes(bare, kept.episodes())
    with pytest.raises(ConfigError, match="of whole numbers in parts their action_counts"):
        read_data_set(str(bare))

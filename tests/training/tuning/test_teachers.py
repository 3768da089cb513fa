"""Teachers beside the bundled player: tree search in the emulator, Minari data sets; and what is done for several games."""

import dataclasses

import numpy as np
import pytest
import tuning_helpers as helpers

from atari_vlm import VLMTrainer
from atari_vlm.errors import AtariVLMError, ConfigError, MismatchError, UnknownNameError
from atari_vlm.evaluate import main as evaluate
from atari_vlm.experience.minari import About, episodes_of, open_minari, write_minari
from atari_vlm.runs.demonstration_files import export_demonstrations
from atari_vlm.runs.game_names import parse_games
from atari_vlm.training.tuning.lessons import PlayedEpisode, TeachingConfig, best_of, held_out_of
from atari_vlm.training.tuning.sft import Lessons, _shares
from atari_vlm.training.tuning.sources import played_episodes
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.tune import main
from atari_vlm.vlm import ScriptedVLM

pytest.importorskip("torch")
minari = pytest.importorskip("minari")
NAME, EXACT = "atari_vlm/pong/taught-v0", "Pong,repeat_action_probability=0"


def episodes(source, games, **options):
    return list(played_episodes(source, parse_games(games), TeachingConfig(**options)))


def told(played):
    """What was asked and what was done, by episode."""
    return [[(d.messages, d.names, d.action) for d in episode.decisions] for episode in played]


def test_a_tree_search_teaches_what_it_finds():
    asked = {"episodes": 1, "held_out": 1, "explore": 0.0}
    found = episodes("mcts@catch,num_simulations=24", "Catch", **asked)
    assert [e.episode_return for e in found] == [1.0, 1.0] and found[1].held_out
    again = episodes("mcts@catch,num_simulations=24", "Catch", **asked)
    assert told(again) == told(found) and len(found[0].decisions) > 4
    astray = episodes("mcts@catch,num_simulations=24", "Catch", **{**asked, "explore": 0.5})
    assert told(astray) != told(found)


def test_the_planner_in_the_emulator_teaches_where_the_emulator_is_exact():
    word, few = "mcts@emulator,num_simulations=2,rollout_steps=2", {"episodes": 1, "held_out": 1}
    found = episodes(word, EXACT, max_steps=4, **few)
    assert [len(e.decisions) for e in found] == [4, 4] and found[0].game == "Pong"
    assert "Step: 3" in found[0].decisions[3].messages[-1].text
    with pytest.raises(ConfigError, match=r"repeat_action_probability is 0\.25"):
        episodes(word, "Pong", **few)


@pytest.mark.parametrize(
    ("word", "error", "said"),
    [
        ("cem@emulator", ConfigError, "tree search teaches, as in mcts@emulator"),
        ("mcts@emulator,vlm=scripted", ConfigError, "asks no model"),
        ("mcts@emulator,simulations=3", UnknownNameError, "num_simulations"),
        ("mcts@emulatr", UnknownNameError, "mean emulator"),
        ("mtcs@emulator", UnknownNameError, "mean mcts"),
        ("minari:", AtariVLMError, "Minari"),
        ("minari:atari_vlm/pong/absent-v0", ConfigError, "no local Minari dataset"),
        ("minari:a-v0,picture=true", UnknownNameError, "mean pictures"),
    ],
)
def test_a_word_that_means_no_teacher_is_one_sentence(word, error, said, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(error, match=said) as caught:
        episodes(word, "Pong")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two episodes of Pong by the bundled player, default stickiness."""
    options = {"max_steps": 12, "videos": 0, "run_name": "run"}
    folder = tmp_path_factory.mktemp("minari")
    with VLMTrainer("Pong-v5", ScriptedVLM(), save_dir=folder, **options) as trainer:
        trainer.train(2, eval_interval=0, save_interval=0)
        return trainer.run.path


@pytest.fixture
def dataset(run, tmp_path, monkeypatch):
    """The run as a data set, and ``written(change)``: another with other episodes."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    export_demonstrations(run, NAME)

    def written(change, space=None):
        whole = open_minari(NAME)
        changed = [change(episode) for episode in episodes_of(whole, ())]
        about = About(space or whole.action_space, "test", "test", None)
        write_minari("atari_vlm/pong/changed-v0", changed, about)
        storage = open_minari("atari_vlm/pong/changed-v0").storage
        storage.update_metadata({"env_spec": whole.env_spec.to_json()})
        return "minari:atari_vlm/pong/changed-v0"

    return written


def test_a_data_set_teaches_what_its_run_does(run, dataset):
    of_run = episodes(run, "Pong")
    for word in (f"minari:{NAME}", f"minari:{NAME},pictures=true"):  # played again; looked at
        of_data = episodes(word, "Pong")
        assert told(of_data) == told(of_run) and len(of_run[0].decisions) == 12
        assert [(e.game, e.held_out) for e in of_data] == [("Pong", False), ("Pong", True)]
        assert [e.episode_return for e in of_data] == [e.episode_return for e in of_run]


def changed(episode, **fields):
    return dataclasses.replace(episode, **fields)


def test_a_data_set_that_does_not_repeat_is_refused_and_may_be_looked_at(dataset):
    word = dataset(lambda e: changed(e, seed=5, rewards=e.rewards + 1, action_names=()))
    with pytest.raises(ConfigError, match=r"does not repeat.*pictures=true"):
        episodes(word, "Pong")
    seen = episodes(f"{word},pictures=true", "Pong")
    assert [e.episode_return for e in seen] == [12.0, 12.0]
    assert "Return: 3" in seen[0].decisions[3].messages[-1].text


def test_pictures_of_another_size_and_all_eighteen_actions_are_brought_to_play(dataset):
    space = minari.load_dataset(NAME).action_space.__class__(18)
    full = [0, 1, 3, 4, 11, 12]  # Pong's six among the eighteen

    def foreign(e):
        actions = np.array([full[a] for a in e.actions], np.int64)
        small = {"image": np.ascontiguousarray(e.inputs["image"][:, ::2, ::2])}
        return changed(e, inputs=small, actions=actions, seed=None, action_names=())

    seen, own = episodes(dataset(foreign, space), "Pong"), episodes(f"minari:{NAME}", "Pong")
    assert [d.action for d in seen[0].decisions] == [d.action for d in own[0].decisions]
    assert seen[0].decisions[0].names == own[0].decisions[0].names
    assert seen[0].decisions[5].messages[-1].images[1].pixels.shape == (224, 224, 3)


def test_what_a_data_set_cannot_teach_is_one_sentence(dataset, tmp_path, capsys):
    with pytest.raises(MismatchError, match="of Pong alone, and --game asks for Pong, Breakout"):
        episodes(f"minari:{NAME}", ["Pong", "Breakout"])
    space = minari.load_dataset(NAME).action_space.__class__(18)
    word = dataset(lambda e: changed(e, actions=e.actions * 0 + 2, action_names=()), space)
    with pytest.raises(ConfigError, match="plays the action 2, which the game has not"):
        episodes(word, "Pong")
    words = ["--from", "minari:x-v0", "--save-dir", str(tmp_path), "--run-name", "bad"]
    assert main(["sft", *helpers.SMALL, *words, "--game", "Pong"]) == 2
    error = capsys.readouterr().err
    assert "no local Minari dataset 'x-v0'" in error and error.count("error:") == 1
    assert not (tmp_path / "bad").exists()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Six episodes of two toys by the bundled player, one game after the other."""
    folder = tmp_path_factory.mktemp("study")
    games = ["--games", "Catch", "SoloPong", "--agents", "scripted", "--seeds", "0", "1", "2"]
    assert evaluate([*games, "--save-dir", str(folder), "--run-name", "two"]) == 0
    return folder / "two"


def test_of_every_game_some_episodes_are_held_out_and_the_best_are_its_own(study):
    found = episodes(study, "Catch,SoloPong")
    assert {e.game for e in found} == {"Catch", "SoloPong"} and len(found) == 6
    assert [e.held_out for e in found if e.game == "Catch"] == [False, False, True]
    assert [e.held_out for e in found if e.game == "SoloPong"] == [False, False, True]
    best = episodes(study, "Catch,SoloPong", best=0.6)
    assert sorted(e.game for e in best) == ["Catch"] * 2 + ["SoloPong"] * 2  # 3 beats 1 in neither
    thin = episodes(study, "Catch,SoloPong", thin=3)
    assert [len(e.decisions) for e in thin] == [-(-len(e.decisions) // 3) for e in found]
    lessons = Lessons.of(found)
    weights = dict.fromkeys(zip(lessons.games, (d.action for d in lessons.taught), strict=True), 0)
    for game, d, share in zip(
        lessons.games, lessons.taught, _shares(lessons, balance=True), strict=True
    ):
        weights[game, d.action] += share
    assert np.allclose(list(weights.values()), len(lessons.taught) / len(weights))
    with pytest.raises(ConfigError, match="played SoloPong, and --game asks for Catch"):
        episodes(study, "Catch")
    with pytest.raises(ConfigError, match="no finished episode of Pong"):
        episodes(study, "Catch,SoloPong,Pong")


def test_returns_are_compared_within_a_game():
    rows = [("a", 1), ("b", 300), ("a", 2), ("b", 100), ("a", 2), ("b", 200)]
    kept = best_of(rows, 0.34, lambda row: row[0], lambda row: row[1])
    assert kept == [("b", 300), ("a", 2)]  # the earlier of two equal ones
    assert held_out_of(["a", "a", "b", "a", "b"], 34) == [False, False, False, True, True]


def test_a_game_with_nothing_to_measure_on_is_named():
    decision = TaughtDecision((), ("NOOP",), 0, 0)
    played = [PlayedEpisode("Catch", held_out, 0.0, (decision,)) for held_out in (False, True)]
    with pytest.raises(ConfigError, match="gave 0 decisions of Pong to learn from and 1 to"):
        Lessons.of([*played, PlayedEpisode("Pong", True, 0.0, (decision,))])

"""A run of reinforcement: it improves what it plays, and goes on after any stop as if there had been none."""

import hashlib
import json

import numpy as np
import pytest
import tuning_helpers as helpers

from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.runs.environments import make_env
from atari_vlm.training.tuning.rl import ReinforcementTrainer
from atari_vlm.training.tuning.turns import Lane
from atari_vlm.tune import main

SMALL = (
    *("--game", "Catch", "--iterations", "3", "--envs", "2", "--steps", "3", "--minibatch", "4"),
    *("--eval-every", "2", "--eval-episodes", "1", "--seed", "1", "--threads", "1"),
    *("--device", "cpu", "--kl", "0.1"),
)


def rl(folder, name, *words):
    return main(["rl", *SMALL, "--save-dir", str(folder), "--run-name", name, *words])


def digests(run):
    names = (*(f"adapter/{name}" for name in helpers.ADAPTER), "results.json", "metrics.jsonl")
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tuned, bases, tmp_path, monkeypatch):
    words = ("--base", "qwen-vl", "--model", bases("qwen2-vl"), "--adapter", str(tuned / "adapter"))
    assert rl(tmp_path, "whole", *words) == 0
    play = ReinforcementTrainer._play

    def stopping(trainer, rng):
        if trainer.iteration == 2:
            trainer.run.stop.set()
        return play(trainer, rng)

    with monkeypatch.context() as patched:
        patched.setattr(ReinforcementTrainer, "_play", stopping)
        assert rl(tmp_path, "stopped", *words) == 130
    assert rl(tmp_path, "stopped", *words) == 0
    assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    assert [line["epoch"] for line in metrics] == [1, 2, 3]
    assert "kl" not in metrics[0]  # the value head alone has learned
    assert metrics[1]["kl"] >= 0 and metrics[1]["entropy"] > 0 and metrics[1]["explained"] <= 1
    config = (tuned / "adapter" / "adapter_config.json").read_text()
    assert (tmp_path / "whole" / "adapter" / "adapter_config.json").read_text() == config


def test_lanes_repeat_exactly_and_play_the_seeds_they_are_given():
    def lane():
        env = make_env({"game_name": "Catch"})
        return Lane(env, "basic", VLMAgentOptions(), lambda episode: 2 * episode, 50)

    first, second = lane(), lane()
    for action in (1, 2, 0, 1, 1, 2, 0, 0, 1):  # an episode of seven steps, and two more
        first.step(action)
    assert first.episode == 1 and first.actions == [0, 1]
    second.restore(1, [0, 1])
    assert second.asked.messages == first.asked.messages
    cut = Lane(make_env({"game_name": "Catch"}), "basic", VLMAgentOptions(), lambda n: n, 3)
    assert [cut.step(0)[1] for _ in range(3)] == [False, False, True]
    rest = [first.step(0) for _ in range(5)]
    assert rest[-1][1] and abs(rest[-1][2].episode_return) == 1 and rest[-1][3] is None


def test_games_side_by_side_are_evaluated_each_by_itself(bases, tmp_path):
    words = ("--base", "qwen-vl", "--model", bases("qwen2-vl"), "--game", "Catch", "SoloPong")
    assert rl(tmp_path, "two", *words, "--iterations", "1", "--eval-episodes", "3") == 0
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["games"] == ["Catch", "SoloPong"]
    assert {name: len(rows) for name, rows in results["returns"].items()} == {
        "Catch": 3,
        "SoloPong": 3,
    }
    means = [np.mean(rows) for rows in results["returns"].values()]
    assert results["return"] == pytest.approx(np.mean(means))
    line = json.loads((tmp_path / "two" / "metrics.jsonl").read_text())
    assert line["evaluation_return/SoloPong"] == means[1]
    assert line["explained"] == np.mean([line["explained/Catch"], line["explained/SoloPong"]])
    card = json.loads((tmp_path / "two" / "adapter" / "atari_vlm.json").read_text())
    assert card["games"] == ["Catch", "SoloPong"]


def test_time_that_is_over_stops_at_a_checkpoint_and_the_run_goes_on(bases, tmp_path, capsys):
    words = ("--base", "qwen-vl", "--model", bases("qwen2-vl"), "--max-minutes", "1e-9")
    assert rl(tmp_path, "short", *words) == 75
    assert "--max-minutes 1e-09 are over after 2 iterations" in capsys.readouterr().err
    assert rl(tmp_path, "short", *words) == 0  # one iteration is left


def test_an_adapter_of_another_base_is_refused_and_leaves_no_run(tuned, tmp_path, capsys):
    words = ("--base", "tiny", "--model", "new", "--adapter", str(tuned / "adapter"))
    assert rl(tmp_path, "other", *words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "adapter" in said[0] and "qwen-vl" in said[0]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--clip", "0"), "clip"),
        (("--discount", "1.5"), "discount"),
        (("--adapter", "nowhere"), "adapter"),
        (("--base", "gpt-4o"), "one-pass scores"),
        (("--iterations", "0"), "iterations"),
        (("--game", "Catch", "SoloPong", "--envs", "1"), "fewer than the 2 games"),
        (("--minibatch", "100000000", "--steps", "50000000"), "lower --minibatch or --frames"),
        (("--max-minutes", "0"), "max_minutes"),
    ],
)
def test_bad_input_is_one_sentence(words, said, bases, tmp_path, capsys):
    given = ("--base", "qwen-vl", "--model", bases("qwen2-vl"), *words)
    assert rl(tmp_path, "bad", *given) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "bad").exists()


def test_advantages_make_good_actions_likelier(bases, tmp_path):
    """One decision, asked again and again: the action that is rewarded becomes the likeliest."""
    from atari_vlm.training.tuning.bases import load_base
    from atari_vlm.training.tuning.learner import UpdateConfig
    from atari_vlm.training.tuning.ppo import PPOConfig, Turns
    from atari_vlm.training.tuning.rl_learner import ReinforcedLearner
    from atari_vlm.vlm.local.options import LocalOptions

    base = load_base("qwen-vl", bases("qwen2-vl"), LocalOptions(device="cpu", offline=True))
    config = UpdateConfig(updates=8, learning_rate=3e-3)
    learner = ReinforcedLearner(base, "lora", config, PPOConfig(entropy=0.0))
    env = make_env({"game_name": "Catch"})
    asked = [Lane(env, "basic", VLMAgentOptions(), lambda n: n, 9).asked] * 3
    before = learner.policy(asked)[0][0]
    for _ in range(8):
        rows = learner.policy(asked)[0]
        actions = np.arange(3)
        chances = np.array([row[a] for row, a in zip(rows, actions, strict=True)])
        rewards = np.array([-1.0, 1.0, -1.0])
        learner.improve(asked, Turns(actions, chances, rewards, tuple(rows)))
    after, hidden = learner.policy(asked)
    assert after[0][1] > before[1] and after[0].argmax() == 1
    np.testing.assert_array_equal(learner.first_policy(asked)[0], before)
    assert hidden.shape[0] == 3 and learner.worth(asked, [0, 0, 0]).tolist() == [0, 0, 0]

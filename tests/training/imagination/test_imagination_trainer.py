"""A REM run: resumed to the bit, offline, and what it leaves behind."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from rem_helpers import StopAt, rem_trainer, toy_settings

from atari_vlm import dream
from atari_vlm.checker import check_world_model
from atari_vlm.errors import ConfigError, MismatchError, StoppedError
from atari_vlm.experience.episode_files import read_data_set, write_episodes
from atari_vlm.experience.episodes import ReplayEpisodes
from atari_vlm.training.imagination.eval_program import evaluate
from atari_vlm.training.imagination.options import EvalOptions
from atari_vlm.world_models.checkpoint import load_world_model, read_checkpoint

SECONDS = ("seconds", "cpu_seconds")


def metrics_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith(SECONDS)} for line in lines]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the killed processes: two threads add floats in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trainer = rem_trainer(folder, seed=4)
    trainer.train()
    return folder


def test_resumed_is_uninterrupted_bit_for_bit(uninterrupted, tmp_path):
    for updates in (
        1,
        3,
        9,
        4,
        13,
    ):  # each time some work is lost, frames that are on disk included
        with pytest.raises(StoppedError):
            rem_trainer(tmp_path, seed=4, stop=StopAt(updates)).train()
    rem_trainer(tmp_path, seed=4).train()
    assert metrics_of(tmp_path) == metrics_of(uninterrupted)
    whole, resumed = (
        read_checkpoint(folder / "checkpoints" / "epoch-000006")
        for folder in (uninterrupted, tmp_path)
    )
    assert whole.tensors.keys() == resumed.tensors.keys() and len(whole.tensors) > 100
    different = [
        name
        for name, array in whole.tensors.items()
        if not np.array_equal(array, resumed.tensors[name])
    ]
    assert different == []


def test_what_a_run_leaves(uninterrupted):
    assert sorted(p.name for p in (uninterrupted / "checkpoints").iterdir()) == [
        "epoch-000005",
        "epoch-000006",
    ]
    assert {p.name for p in (uninterrupted / "reconstructions").iterdir()} == {
        "epoch-000003.png",
        "epoch-000006.png",
    }
    last = metrics_of(uninterrupted)[-1]
    assert (
        last["evaluation/episodes"] == 3
        and {"actor_critic/imagined_return", "collection/return"} <= last.keys()
    )
    config = read_checkpoint(uninterrupted / "model").config
    assert (
        config["action_names"] == ["NOOP", "RIGHT", "LEFT"] and config["reward_transform"] == "sign"
    )


def test_the_model_is_a_world_model_like_any_other(uninterrupted):
    model = load_world_model(uninterrupted / "model", temperature=1.0)
    check_world_model(model)
    assert model.start.observations.shape == (16, 2, 16, 16, 3)


def test_dream_eval_plays_the_model(uninterrupted, capsys):
    line = EvalOptions(str(uninterrupted / "model"), episodes=4, imagine_temperature=0.0)
    assert evaluate(line) == 0
    real, dreamed = capsys.readouterr().out.splitlines()
    assert re.match(
        r"TestCatch-v0: mean return \S+ \[\S+, \S+\] \(95 %, 4 episodes, temperature 0.5, seed 0",
        real,
    )
    assert re.match(
        r"in its dream of the first 4 games, 100 steps at most, temperature 0: mean return \S+ in ",
        dreamed,
    )
    assert "in 7 steps (rewards by sign)" in dreamed
    assert evaluate(line) == 0 and capsys.readouterr().out.splitlines() == [real, dreamed]
    with pytest.raises(ConfigError, match="a finite number"):
        evaluate(dataclasses.replace(line, imagine_temperature=-1.0))


def test_evaluation_teaches_nothing(tmp_path):
    trainer = rem_trainer(tmp_path, seed=1)
    trainer.collect(1)
    trainer.update(trainer.learner.stages[0], 1, (0, 15))
    before = {name: array.copy() for name, array in trainer.learner.arrays().items()}
    written, memory = trainer.replay.written, trainer.collector.lanes.state
    trainer.play(3)
    after = trainer.learner.arrays()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert trainer.replay.written == written and trainer.collector.lanes.state is memory


def test_learning_from_a_dataset_alone(uninterrupted, tmp_path):
    trainer = rem_trainer(uninterrupted, seed=4)
    episodes = ReplayEpisodes(trainer.replay, ("NOOP", "RIGHT", "LEFT"))
    write_episodes(tmp_path / "catch.npz", episodes)
    again = read_data_set(str(tmp_path / "catch.npz"))
    assert again.action_names == ("NOOP", "RIGHT", "LEFT") and len(again.episodes) == len(episodes)
    for one, other in zip(episodes, again.episodes, strict=True):
        assert np.array_equal(one.pictures, other.pictures)
    settings = {"networks": toy_settings().as_dict()["networks"], "world_model": {"length": 5}}
    quick = {"batch": 4, "steps": 1, "first_epoch": 1}
    for name in ("tokenizer", "world_model", "actor_critic"):
        settings.setdefault(name, {})["updates"] = quick
    (tmp_path / "offline.yaml").write_text(
        json.dumps({"settings": settings, "preset": "tiny", "epochs": 2})
    )
    line = [
        "rem",
        "--dataset",
        str(tmp_path / "catch.npz"),
        "--config",
        str(tmp_path / "offline.yaml"),
    ]
    assert dream.main([*line, "--save-dir", str(tmp_path)]) == 0
    lines = metrics_of(tmp_path / "catch-rem-001")
    assert (
        len(lines) == 2 and "world_model/tokens" in lines[0] and "collection/steps" not in lines[0]
    )
    assert load_world_model(tmp_path / "catch-rem-001" / "model").action_names == (
        "NOOP",
        "RIGHT",
        "LEFT",
    )


def test_warm_start_takes_the_named_parts(uninterrupted, tmp_path):
    model = str(uninterrupted / "model")
    warm = rem_trainer(tmp_path, warm_start=model, warm_parts=("tokenizer",))
    fresh = rem_trainer(tmp_path / "fresh")
    given = read_checkpoint(uninterrupted / "model").tensors
    for name, array in warm.learner.weights().items():
        expected = given if name.startswith("tokenizer") else fresh.learner.weights()
        assert np.array_equal(array, expected[name]), name


def test_another_game_s_actions_are_refused(tmp_path):
    with pytest.raises(MismatchError, match="3 actions, Pong has 6"):
        rem_trainer(tmp_path, "Pong")


def test_the_program_says_what_is_wrong(tmp_path, capsys):
    assert dream.main(["rem"]) == 2 and "either --game or --dataset" in capsys.readouterr().err
    assert (
        dream.main(["rem", "--game", "Pnog"]) == 2
        and "did you mean Pong-v5" in capsys.readouterr().err
    )
    assert (
        dream.main(["rem", "--game", "Pong", "--preset", "huge"]) == 2
        and "rem-plus" in capsys.readouterr().err
    )
    assert (
        dream.main(["rem", "--dataset", str(tmp_path / "no.npz")]) == 2
        and "cannot be read" in capsys.readouterr().err
    )
    np.savez(tmp_path / "bad.npz", frames=np.array([object()]))
    assert dream.main(["rem", "--dataset", str(tmp_path / "bad.npz")]) == 2
    assert "array of objects" in capsys.readouterr().err
    assert dream.main(["train"]) == 2 and "unknown command" in capsys.readouterr().err
    assert dream.main(["eval", str(tmp_path / "none")]) == 65

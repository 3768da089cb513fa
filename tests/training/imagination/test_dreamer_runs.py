"""Whole runs of ``dream dreamer``: trained, stopped, resumed to the bit, evaluated, dreamed in and played."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dreamers import settings_of  # noqa: E402
from replay_helpers import with_helpers  # noqa: E402

from atari_vlm import play  # noqa: E402
from atari_vlm.agents import PolicyAgent  # noqa: E402
from atari_vlm.checker import check_agent, check_world_model  # noqa: E402
from atari_vlm.dream import main  # noqa: E402
from atari_vlm.errors import ConfigError, DivergedError, MismatchError  # noqa: E402
from atari_vlm.training.imagination.checkpoints import Checkpoints  # noqa: E402
from atari_vlm.training.imagination.eval_program import as_data  # noqa: E402
from atari_vlm.training.imagination.games import facts_of  # noqa: E402
from atari_vlm.training.imagination.lanes import Returns  # noqa: E402
from atari_vlm.training.imagination.options import EvalOptions, train_options  # noqa: E402
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer  # noqa: E402
from atari_vlm.world_models.checkpoint import load_world_model  # noqa: E402
from atari_vlm.world_models.dreamer.learner import make_learner  # noqa: E402
from atari_vlm.world_models.dreamer.settings import preset  # noqa: E402

QUICK = [
    "networks.deter=32", "networks.hidden=16", "networks.units=16", "networks.groups=4", "networks.classes=4",
    "networks.layers=1", "networks.frame_px=16", "learning.batch=2", "learning.length=5", "learning.ratio=0.1",
    "learning.prefill=30", "behaviour.steps=2", "behaviour.imag_last=2", "play.steps=40", "play.eval_every=2",
    "play.eval_episodes=2", "play.final_episodes=2", "play.eval_max_steps=30", "checkpoint_every=1", "capacity=400",
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def dream(folder, name, *words, game="CartPole-v1", epochs=3, settings=()):
    command = [
        "dreamer",
        "--game",
        game,
        "--preset",
        "tiny",
        "--save-dir",
        folder,
        "--run-name",
        name,
    ]
    changes = ["--settings", *QUICK, *settings]
    return main([str(w) for w in (*command, "--epochs", epochs, *words, *changes)])


def arrays(run):
    return Checkpoints(run / "checkpoints").newest()[1].tensors


@pytest.mark.parametrize(
    ("game", "settings"),
    [
        ("CartPole-v1", ["play.envs=2"]),
        ("Pendulum-v1", []),
        ("CartPole-v1", ["learning.optimizer=adam"]),
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been(game, settings, tmp_path):
    assert dream(tmp_path, "whole", game=game, settings=settings) == 0
    assert dream(tmp_path, "halves", game=game, epochs=2, settings=settings) == 0
    assert dream(tmp_path, "halves", game=game, epochs=3, settings=settings) == 0
    one, other = arrays(tmp_path / "whole"), arrays(tmp_path / "halves")
    assert one.keys() == other.keys()
    assert [name for name in one if one[name].tobytes() != other[name].tobytes()] == []
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert any("dreamer/loss" in line for line in lines)


def test_total_steps_are_steps_of_play(tmp_path, capsys):
    command = ["dreamer", "--game", "CartPole-v1", "--preset", "tiny", "--save-dir", str(tmp_path)]
    assert main([*command, "--run-name", "a", "--total-steps", "80", "--settings", *QUICK]) == 0
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == 2
    first, last = re.findall("epoch ./2: .*", capsys.readouterr().err)
    speeds = r"collection/steps_per_second \S+, dreamer/updates_per_second \S+"
    assert re.search(speeds + r", \d+:\d\d left$", first) and re.search(speeds + "$", last)
    late = [
        "--settings",
        *QUICK,
        "learning.prefill=40",
    ]  # what is learned begins in the second epoch
    assert main([*command, "--run-name", "b", "--total-steps", "120", *late]) == 0
    first, second, _ = re.findall("epoch ./3: .*", capsys.readouterr().err)
    assert re.search(r", more than \d+:\d\d left$", first) and re.search(
        r"\S, \d+:\d\d left$", second
    )
    with pytest.raises(ConfigError, match="--total-steps"):
        train_options("dreamer")(game="CartPole-v1", total_steps=10, epochs=3)


def test_another_ratio_or_core_is_refused_by_name(tmp_path, capsys):
    assert dream(tmp_path, "a", epochs=1) == 0
    for change in ("learning.ratio=0.7", "learning.batch=4", "networks.core.kind=gru"):
        capsys.readouterr()
        assert dream(tmp_path, "a", epochs=1, settings=[change]) != 0
        told = capsys.readouterr()
        assert change.split("=")[0] in told.err + told.out


def test_an_evaluation_is_told_as_json(tmp_path, capsys):
    """D20: N episodes, mean and interval."""
    assert dream(tmp_path, "a", epochs=1) == 0
    model, file = tmp_path / "a" / "model", tmp_path / "eval.json"
    command = ["eval", str(model), "--episodes", "3", "--seed", "5", "--json", str(file)]
    assert main([*command, "--imagine-steps", "3"]) == 0
    told = json.loads(file.read_text())
    assert told["game"] == "CartPole-v1" and told["episodes"] == len(told["returns"]) == 3
    assert told["mean"] == pytest.approx(np.mean(told["returns"]))
    assert told["low"] <= told["mean"] <= told["high"] and told["human_normalised"] is None
    assert main(["eval", str(model.parent)]) == 65
    assert f"the model of the run is {model}" in capsys.readouterr().err


def test_a_whole_atari_game_has_a_human_normalised_score():
    """D20: the human-normalised score, where one is known and no game was cut."""
    options = EvalOptions("model", max_steps=300)
    told = as_data("Pong-v5", Returns([1.0, -21.0], [100, 200]), options)
    assert told["human_normalised"] == pytest.approx(
        (-10 + 20.7) / (14.6 + 20.7)
    )  # Mnih et al. 2015
    assert as_data("Pong-v5", Returns([1.0], [300]), options)["human_normalised"] is None  # cut
    alone = as_data("CartPole-v1", Returns([9.0], [9]), options)
    assert alone["low"] is None and alone["human_normalised"] is None


def test_an_atari_game_is_trained_and_dreamed_in(tmp_path):
    assert dream(tmp_path, "pong", game="Pong-v5", epochs=1, settings=["play.max_noops=1"]) == 0
    checkpoint = tmp_path / "pong" / "model"
    check_world_model(load_world_model(checkpoint), steps=3)
    env = gymnasium.make("AtariVLM/Pong-Dreamer-v5", checkpoint=checkpoint)
    real = gymnasium.make("AtariVLM/Pong-v5")
    assert env.observation_space == real.observation_space
    assert env.action_space == real.action_space
    agent = PolicyAgent(checkpoint)
    observation, _ = env.reset(seed=0)
    agent.reset(seed=0)
    for _ in range(3):
        observation, reward, terminated, truncated, _ = env.step(agent.act(observation).action)
        assert env.observation_space.contains(observation) and np.isfinite(reward)
        if terminated or truncated:
            observation, _ = env.reset()
    real.close()
    env.close()
    told = tmp_path / "pong.json"
    words = ["--episodes", "2", "--max-steps", "10", "--imagine-steps", "3", "--json", str(told)]
    assert main(["eval", str(checkpoint), *words]) == 0
    assert json.loads(told.read_text())["human_normalised"] is None  # cut games have none


def test_the_player_of_a_vector_game_is_an_agent(tmp_path):
    assert dream(tmp_path, "a", epochs=1) == 0
    env = gymnasium.make("CartPole-v1")
    check_agent(lambda: PolicyAgent(tmp_path / "a" / "model"), env)
    env.close()
    pytest.importorskip("imageio_ffmpeg")
    dream_of = ["--id", "dream", "--checkpoint", str(tmp_path / "a" / "model"), "--agent", "policy"]
    assert play.main([*dream_of, "--record", str(tmp_path / "dream.mp4"), "--steps", "4"]) == 0
    assert (tmp_path / "dream.mp4").stat().st_size > 500  # numbers are watched as curves


def test_a_run_may_dream_on_without_play(tmp_path):
    assert dream(tmp_path, "a", epochs=3, settings=["play.last_epoch=2"]) == 0
    lines = [json.loads(x) for x in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert "collection/steps" not in lines[2] and np.isfinite(lines[2]["dreamer/loss"])


def test_recorded_steps_are_learned_from_without_a_game(tmp_path):
    assert dream(tmp_path, "a", epochs=2) == 0
    assert (
        main(["export", "a", "--save-dir", str(tmp_path), "--out", str(tmp_path / "steps.npz")])
        == 0
    )
    command = [
        "dreamer",
        "--dataset",
        str(tmp_path / "steps.npz"),
        "--preset",
        "tiny",
        "--epochs",
        "1",
    ]
    save = ["--save-dir", str(tmp_path), "--run-name", "b", "--settings", *QUICK]
    assert main([*command, *save]) == 0
    line = json.loads((tmp_path / "b" / "metrics.jsonl").read_text().splitlines()[0])
    assert np.isfinite(line["dreamer/loss"])


def test_a_loss_that_is_no_number_ends_the_run_and_the_batch_is_kept(tmp_path):
    facts = facts_of("CartPole-v1")
    changes = {"play": {"steps": 40}, "capacity": 400, "epochs": 2}
    run = TrainingRun(tmp_path, facts, settings_of(facts, **changes))
    trainer = WorldModelTrainer(run, make_learner)
    with torch.no_grad():
        trainer.learner.networks.reward[-1].bias.fill_(float("inf"))
    with pytest.raises(DivergedError, match=r"the batch is in .*diverged-rank-0.npz"):
        trainer.train()
    trainer.close()
    with np.load(tmp_path / "diverged-rank-0.npz") as kept:
        assert kept["inputs/state"].shape == (3, 5, 4)


def test_what_cannot_be_learned_is_said_before_anything_is_played():
    blackjack = facts_of("Blackjack-v1", ())
    assert preset("tiny", blackjack).networks
    with pytest.raises((ConfigError, MismatchError)):
        facts_of("CartPole-v1", ("position",))


def test_a_signal_leaves_the_model_of_now(tmp_path):
    command = ["-m", "atari_vlm.dream", "dreamer", "--game", "CartPole-v1", "--preset", "tiny"]
    words = ["--save-dir", str(tmp_path), "--run-name", "a", "--epochs", "100000", "--threads", "1"]
    environment = {**with_helpers(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *command, *words, "--settings", *QUICK, "checkpoint_every=100000"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    log = tmp_path / "a" / "metrics.jsonl"
    while not (log.is_file() and "dreamer/loss" in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert load_world_model(tmp_path / "a" / "model").action_space.n == 2

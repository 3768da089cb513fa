"""``dream collect``: whole episodes of real games as data sets, the same however they were played; and what learns from them.

Several processes, and a program that is killed, are marked slow.
"""

import json
import os
import signal
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from ray_sessions import own_session

from atari_vlm import dream
from atari_vlm.experience.episode_files import read_data_set
from atari_vlm.runs.cluster.session import _small
from atari_vlm.runs.seeds import train_seed
from atari_vlm.training.imagination.games import GameConfig, make_game

ATARI = "--game breakout --agent scripted --num-episodes 3 --max-steps 25 --frame-px 32".split()
POLE = "--game CartPole-v1 --num-episodes 4 --max-steps 30 --seed 5".split()
REFUSED = [
    (["--agent", "gpt-4o"], "play it with `evaluate`"),
    (["--agent", "plan@emulator"], "with `report export`"),
    (["--agent", "mcts@emulator,vlm=gpt-4o"], "asks a model"),
    (["--agent", "randm"], "did you mean random"),
    (["--agent", "random,skill=1"], "unknown option of the agent 'random' 'skill'"),
    (["--agent", "random noop"], "unknown agent"),
    (["--agent", "random,noop"], "one agent plays"),
    (["--agent", "scripted"], "image is missing"),
    (["--agent", "mcts@emulator"], "emulator"),
    (["--agent", "policy@nowhere"], "unknown world model, or folder of a checkpoint, 'nowhere'"),
    (["--game", "CartPol-v1"], "did you mean CartPole-v1"),
    (["--game", ""], "--game says what is played"),
    (["--keys", "position"], "unknown part"),
    (["--out", "steps.zip"], "ends in .npz"),
    (["--minari", "no id"], "no id of a Minari dataset"),
    (["--num-episodes", "10001"], "give the others another --seed"),
    (["--num-episodes", "0"], "num_episodes must be"),
    (["--ray-address", "auto"], "--executor ray"),
    (["--executor", "ray", "--ray-address", "127.0.0.1:1"], "no head of a Ray cluster answers"),
]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))


def collect(*words):
    return dream.main(["collect", *map(str, words), "--save-dir", "runs"])


def test_atari_episodes_are_the_same_however_they_are_played(tmp_path, capsys):
    minari = ["--minari", "breakout/scripted-v0"]
    assert collect(*ATARI, "--out", "serial.npz", *minari) == 0
    assert "3 episodes, 75 steps, mean return" in capsys.readouterr().out
    parts = {path.name for path in (tmp_path / "sets").rglob("*data*.*")}
    with own_session(2):
        spread = ["--out", "ray.npz", "--executor", "ray", "--parallel", "2", "--run-name", "ray"]
        assert collect(*ATARI, *spread) == 0
    assert (tmp_path / "serial.npz").read_bytes() == (tmp_path / "ray.npz").read_bytes()
    data, again = read_data_set("serial.npz"), read_data_set("breakout/scripted-v0")
    assert data.frame_skip == 4 and data.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert [*data.inputs] == ["image"] and data.inputs["image"].shape == (32, 32, 3)
    for ours, theirs in zip(data.episodes, again.episodes, strict=True):
        assert np.array_equal(ours.pictures, theirs.pictures) and len(ours.pictures) == 26
        assert np.array_equal(ours.actions, theirs.actions) and ours.truncated[-1]
    assert {"main_data.hdf5", "metadata.json", "namespace_metadata.json"} == parts
    _is_what_a_learner_sees(data.episodes[1], train_seed(0, 1))


def _is_what_a_learner_sees(episode, seed):
    """The same actions in a training game of that seed show the same."""
    wanted = {"image": read_data_set("serial.npz").inputs["image"]}
    game = make_game(GameConfig("Breakout", max_steps=25), wanted)
    shown = [game.reset(seed=seed)[0]["image"]]
    for step, action in enumerate(episode.actions):
        observation, reward, *_ = game.step(action)
        shown.append(observation["image"])
        assert reward == episode.rewards[step]
    game.close()
    assert np.array_equal(shown, episode.pictures)


def test_a_world_model_learns_from_what_was_collected(tmp_path):
    assert collect(*ATARI, "--agent", "random", "--frame-px", "none", "--out", "steps.npz") == 0
    assert read_data_set("steps.npz").inputs["image"].shape == (210, 160, 3)
    quick = {"updates": {"batch": 2, "steps": 1, "first_epoch": 1}}
    settings = {name: quick for name in ("tokenizer", "world_model", "actor_critic")}
    (tmp_path / "quick.yaml").write_text(json.dumps({"settings": {"epochs": 1, **settings}}))
    words = "rem --dataset steps.npz --preset tiny --config quick.yaml --save-dir runs --run-name x"
    assert dream.main(words.split()) == 0
    line = json.loads((tmp_path / "runs" / "x" / "metrics.jsonl").read_text().splitlines()[0])
    assert np.isfinite(line["world_model/tokens"]) and "collection/steps" not in line
    policy = ["--agent", "policy@runs/x/model", "--out", "played.npz"]
    assert collect(*ATARI, *policy, "--num-episodes", "1") == 0
    assert len(read_data_set("played.npz").episodes[0]) == 25


def test_numbers_are_collected_too_and_a_run_grows(tmp_path, capsys):
    """What was there stays as it is; a part that is gone is played again; the same command makes a new run."""
    assert collect(*POLE, "--run-name", "pole", "--num-episodes", "2") == 0
    part = tmp_path / "runs" / "pole" / "episodes" / "000000.npz"
    before = part.stat().st_mtime_ns
    more = ["--save-dir", "runs", "--num-episodes", "4"]
    assert dream.main(["resume", "pole", *more]) == 0 and part.stat().st_mtime_ns == before
    assert collect(*POLE) == 0
    whole = [
        tmp_path / "runs" / n / "steps.npz" for n in ("pole", "CartPole-v1-random-episodes-001")
    ]
    assert whole[0].read_bytes() == whole[1].read_bytes()
    part.unlink()
    assert collect(*POLE, "--run-name", "pole") == 0
    assert whole[0].read_bytes() == whole[1].read_bytes()
    data = read_data_set(str(whole[0]))
    assert len(data.episodes) == 4 and data.inputs["state"].shape == (4,)
    ends = [(e.terminated[-1], e.truncated[-1]) for e in data.episodes]
    assert all(over != cut for over, cut in ends) and (True, False) in ends
    assert len({episode.inputs["state"].tobytes() for episode in data.episodes}) == 4
    assert collect(*POLE, "--run-name", "pole", "--seed", "6") == 73
    assert "made with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(words, said, tmp_path, capsys):
    assert collect(*POLE, *words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and said in line
    assert not [*tmp_path.glob("runs/*")]


def test_what_somebody_else_made_is_never_replaced(tmp_path, capsys):
    (tmp_path / "mine.npz").write_text("mine")
    assert collect(*POLE, "--out", "mine.npz") == 2
    assert "mine.npz is there already, and not of this run" in capsys.readouterr().err
    assert (tmp_path / "mine.npz").read_text() == "mine" and not list((tmp_path / "runs").iterdir())
    assert collect(*POLE, "--minari", "pole-v0", "--run-name", "a") == 0
    assert collect(*POLE, "--minari", "pole-v0", "--run-name", "a") == 0  # its own
    assert collect(*POLE, "--minari", "pole-v0", "--run-name", "b") == 2
    assert "'pole-v0' is there already" in capsys.readouterr().err
    assert len(read_data_set("pole-v0").episodes) == 4


def test_an_agent_of_ones_own_plays_and_its_failure_is_told(capsys):
    game = ["--game", "own_games:Lane-v0", "--max-steps", "6"]
    assert collect(*POLE, *game, "--agent", "own_players:Steering", "--out", "a.npz") == 0
    assert len(read_data_set("a.npz").episodes) == 4
    assert collect(*POLE, *game, "--agent", "own_players:Forgets", "--out", "b.npz") == 73
    line = capsys.readouterr().err.splitlines()[-1]
    assert "own_players:Forgets failed at step 1" in line and "KeyError" in line


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster of one node that stands already, and a place for the sessions of programs."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with (
        pytest.MonkeyPatch.context() as patch,
        TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short,
        _small(),
    ):
        patch.setenv("RAY_TMPDIR", short)
        patch.setenv("RAY_worker_niceness", "0")
        standing = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        try:
            yield standing.address
        finally:
            standing.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["one process", "several", "ray", "cluster"])
def test_a_program_that_is_killed_goes_on(way, tmp_path, request):
    """SIGKILL at three moments: of one process, of the driver of several and of workers of Ray, its own and a cluster's.

    No episode that had ended is played twice, and the end is the same.
    """
    words = "--game Pong --agent mcts@emulator,num_simulations=4 --num-episodes 8 --max-steps 30"
    assert collect(*words.split(), "--out", "whole.npz", "--run-name", "whole") == 0
    line = [*words.split(), "--out", "killed.npz", "--run-name", "killed", "--save-dir", "runs"]
    line += ["--parallel", "1" if way == "one process" else "2"]
    if way in ("ray", "cluster"):
        address = request.getfixturevalue("cluster")
        line += ["--executor", "ray", *(["--ray-address", address] if way == "cluster" else [])]
    _is_killed_and_goes_on(line, tmp_path / "runs" / "killed" / "episodes")
    assert (tmp_path / "killed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def _is_killed_and_goes_on(line, episodes):
    command, made = [sys.executable, "-m", "atari_vlm.dream", "collect", *line], {}
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        count = len(made)
        while process.poll() is None and len([*episodes.glob("0*.npz")]) <= count:
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it was killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        now = {path.name: path.stat().st_mtime_ns for path in episodes.glob("0*.npz")}
        assert made.items() <= now.items() and len(now) > len(made)
        made = now
    assert len(made) < 8, "nothing was left to be played"
    assert subprocess.run(command).returncode == 0
    assert made.items() <= {p.name: p.stat().st_mtime_ns for p in episodes.glob("0*.npz")}.items()

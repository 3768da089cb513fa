"""A run's play as npz and as Minari dataset; both come back as they went and can be trained on."""

import fcntl
import json

import numpy as np
import pytest
from rem_helpers import GAME

from atari_vlm import dream
from atari_vlm.experience.episode_files import read_data_set
from atari_vlm.training.imagination.export import play_of_run
from atari_vlm.world_models.checkpoint import load_world_model

SETTINGS = {
    "epochs": 3,
    "capacity": 60,
    "checkpoint_every": 2,
    "play": {"steps": 45, "final_episodes": 1, "eval_every": 9},
    **{
        n: {"updates": {"batch": 2, "steps": 1, "first_epoch": 1}}
        for n in ("tokenizer", "world_model", "actor_critic")
    },
}


def train(folder, *line):
    (folder / "quick.yaml").write_text(json.dumps({"settings": SETTINGS}))
    options = [
        "--preset",
        "tiny",
        "--config",
        str(folder / "quick.yaml"),
        "--save-dir",
        str(folder / "runs"),
    ]
    return dream.main(["rem", *line, *options])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    assert train(folder, "--game", GAME, "--run-name", "played") == 0
    return folder / "runs" / "played"


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


def joined(data, name):
    return np.concatenate([getattr(episode, name) for episode in data.episodes])


def frames(data):
    return np.concatenate([episode.pictures[: len(episode)] for episode in data.episodes])


def test_npz_comes_back_as_it_went(run, tmp_path, capsys):
    line = [
        "export",
        "played",
        "--save-dir",
        str(run.parent),
        "--out",
        str(tmp_path / "deep" / "steps.npz"),
    ]
    assert dream.main(line) == 0
    with play_of_run(run) as (data, source):
        again = read_data_set(str(tmp_path / "deep" / "steps.npz"))
        assert f"{data.num_steps} steps" in capsys.readouterr().out and source == GAME
        assert 45 < data.num_steps <= 60 and again.action_names == ("NOOP", "RIGHT", "LEFT")
        assert np.array_equal(frames(data), frames(again))
        for name in ("actions", "rewards", "terminated", "truncated"):
            assert np.array_equal(joined(again, name), joined(data, name)), name
    ends = np.flatnonzero(joined(again, "terminated"))
    assert (
        (np.diff(ends) == 8).all() and len(ends) >= 5 and np.abs(joined(again, "rewards")).sum() > 0
    )
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["steps.npz"]


def test_minari_comes_back_as_it_went_and_teaches(run, tmp_path):
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    line = ["export", str(run), "--minari", "toy/catch-v0"]
    assert dream.main(line) == 0
    again = read_data_set("toy/catch-v0")
    with play_of_run(run) as (data, _):
        assert np.array_equal(frames(data), frames(again))
        for name in ("actions", "rewards", "terminated"):
            assert np.array_equal(joined(again, name), joined(data, name)), name
    assert again.action_names == ("NOOP", "RIGHT", "LEFT")
    goes_on = not joined(again, "terminated")[-1]
    assert joined(again, "truncated").sum() == goes_on and joined(again, "truncated")[-1] == goes_on
    episodes = list(minari.load_dataset("toy/catch-v0").iterate_episodes())
    assert len(episodes) == len(again.episodes) and episodes[0].observations.shape[1:] == (
        64,
        64,
        3,
    )
    assert dream.main(line) == 2  # the id is taken
    assert train(tmp_path, "--dataset", "toy/catch-v0", "--run-name", "taught") == 0
    assert load_world_model(tmp_path / "runs" / "taught" / "model").action_names == (
        "NOOP",
        "RIGHT",
        "LEFT",
    )
    kinds = {path.parent.name for path in (tmp_path / "runs" / "taught" / "media").rglob("*.npz")}
    assert kinds == {"train", "imagination"}  # nothing is played


def test_what_cannot_be_exported_says_why(run, tmp_path, capsys):
    out = ["--out", str(tmp_path / "steps.npz")]
    assert dream.main(["export", str(run)]) == 2 and "either --out" in capsys.readouterr().err
    assert dream.main(["export", str(run), *out, "--minari", "a/b-v0"]) == 2
    assert (
        dream.main(["export", "none", "--save-dir", str(tmp_path), *out]) == 2
        and "no run" in capsys.readouterr().err
    )
    assert (
        dream.main(["export", str(run), "--out", str(tmp_path / "steps.zip")]) == 2
        and ".npz" in capsys.readouterr().err
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text("identity: x\nsettings: {game_name: Pong}\n")
    assert (
        dream.main(["export", str(other), *out]) == 2
        and "not a run of `dream`" in capsys.readouterr().err
    )
    (other / "config.yaml").write_text("identity: x\nsettings: {rem: {}, source: Pong}\n")
    (other / "lock").touch()
    assert (
        dream.main(["export", str(other), *out]) == 2 and "no checkpoint" in capsys.readouterr().err
    )
    with open(run / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert (
            dream.main(["export", str(run), *out]) == 73
            and "is being trained" in capsys.readouterr().err
        )
    assert not (tmp_path / "steps.npz").exists()

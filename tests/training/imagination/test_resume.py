"""What `dream resume` takes, what it refuses, and what a harmed run does; see K7, W17, W26 and K9."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from rem_helpers import GAME, toy_settings

from atari_vlm import dream
from atari_vlm.experience.episode_files import write_episodes
from atari_vlm.experience.episodes import ReplayEpisodes
from atari_vlm.runs.run_folder import identity_of, read_config
from atari_vlm.training.imagination.checkpoints import Checkpoints
from atari_vlm.world_models.checkpoint import read_checkpoint


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines]


def train(folder, *words):
    return dream.main(["rem", "--save-dir", str(folder), *map(str, words)])


def resume(run, *words):
    return dream.main(["resume", str(run), *map(str, words)])


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    settings = {
        "networks": {
            k: v for k, v in toy_settings().as_dict()["networks"].items() if k != "num_actions"
        },
        "tokenizer": {"updates": {"steps": 1, "last_epoch": 3}},
        "world_model": {"length": 5, "updates": {"steps": 1, "batch": 4, "first_epoch": 1}},
        "actor_critic": {"updates": {"steps": 1, "first_epoch": 2, "batch": 4}},
        "play": {"steps": 20, "eval_every": 9, "final_episodes": 2},
        "checkpoint_every": 1,
        "capacity": 200,
    }
    path = tmp_path_factory.mktemp("options") / "quick.yaml"
    path.write_text(json.dumps({"preset": "tiny", "epochs": 2, "settings": settings}))
    return path


@pytest.fixture(scope="module")
def finished(quick, tmp_path_factory):
    threads = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("runs")
    assert (
        train(folder, "--game", GAME, "--config", quick, "--run-name", "done", "--threads", 1) == 0
    )
    torch.set_num_threads(threads)
    return folder / "done"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, to be harmed."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def redo(run):
    shutil.rmtree(run / "checkpoints" / "epoch-000002")


def edited(run, change):
    config = read_config(run)
    change(config)
    config["identity"] = identity_of(config["settings"])
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def test_a_finished_run_is_extended_and_its_first_part_stays(run):
    before = metrics(run)
    assert read_config(run)["finished"] is True
    assert resume(run, "--epochs", 3, "--threads", 1) == 0
    after = metrics(run)
    assert after[0] == before[0] and [line["epoch"] for line in after] == [1, 2, 3]
    config = read_config(run)
    assert config["settings"]["rem"]["epochs"] == 3 and config["finished"] is True


def test_the_same_command_with_more_epochs_goes_on_too(run, quick):
    line = ("--game", GAME, "--config", quick, "--run-name", "run", "--threads", 1)
    assert train(run.parent, *line, "--epochs", 3) == 0
    assert [line["epoch"] for line in metrics(run)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--seed", "7"), "seed was 0, is now 7"),
        (("--settings", "play.steps=21"), "rem.play.steps was 20, is now 21"),
        (("--settings", "capacity=50", "epochs=9"), "rem.capacity was 200, is now 50"),
        (("--game", "Pong"), "source was .TestCatch-v0., is now .Pong."),
        (("--preset", "rem"), "preset tiny"),
    ],
)
def test_what_contradicts_the_run_is_refused_by_name(run, words, named, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert resume(run, *words) != 0
    said = capsys.readouterr().err
    assert re.search(named, said)
    assert "[" not in said  # a tuple equals the list of its values
    assert {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"
    } == {path: content for path, content in before.items() if path.name != "lock"}


def test_a_run_from_another_device_goes_on_where_it_is_asked_to(run, capsys):
    def on_cuda(config):
        config["command"]["device"] = config["execution"]["device"] = "cuda"

    redo(run)
    edited(run, on_cuda)
    assert resume(run) == 2 and "there is no device 'cuda' here" in capsys.readouterr().err
    assert resume(run, "--device", "cpu", "--threads", 1) == 0
    assert read_config(run)["execution"]["device"] == "cpu"


def test_a_setting_that_the_version_did_not_know_takes_its_default(run, finished):
    def without(config):
        del config["settings"]["rem"]["play"]["max_noops"]
        del config["settings"]["rem"]["world_model"]["prioritised"]
        del config["settings"]["rem"]["networks"]["tokenizer"]["norm"]

    redo(run)
    edited(run, without)
    assert resume(run, "--threads", 1) == 0
    assert metrics(run) == metrics(finished)


def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(run, finished, capsys):
    file = run / "checkpoints" / "epoch-000002" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    assert resume(run, "--threads", 1) == 0
    assert "going on from the checkpoint of epoch 1 instead" in capsys.readouterr().err
    assert metrics(run) == metrics(finished)
    for epoch in (1, 2):
        (run / "checkpoints" / f"epoch-00000{epoch}" / "manifest.json").write_text("{}")
    assert resume(run) == 65 and "no whole checkpoint is left" in capsys.readouterr().err


def test_a_checkpoint_under_another_number_is_no_checkpoint_of_that_epoch(run, finished, capsys):
    shutil.copytree(run / "checkpoints" / "epoch-000001", run / "checkpoints" / "epoch-000007")
    assert resume(run, "--threads", 1) == 0
    assert "is a checkpoint of epoch 1" in capsys.readouterr().err
    assert Checkpoints(run / "checkpoints").newest(lambda said: None)[0] == 2


def test_lost_frames_are_refused(run, capsys):
    redo(run)
    (run / "replay" / "frames.u8").unlink()
    assert resume(run) == 73 and "frames.u8" in capsys.readouterr().err


def test_the_number_of_threads_is_kept_and_a_difference_is_said(run, capsys):
    assert read_config(run)["execution"]["threads"] == 1
    redo(run)
    threads = torch.get_num_threads()
    assert resume(run, "--threads", 2) == 0
    torch.set_num_threads(threads)
    assert "until now with 1 CPU threads, from here on 2" in capsys.readouterr().err


def test_an_offline_run_needs_its_file_only_at_the_start(
    finished, quick, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    from rem_helpers import rem_trainer

    settings = toy_settings(epochs=1)
    played = rem_trainer(tmp_path / "played", settings=settings)
    played.collect(1)
    played.replay.stop_episode()
    write_episodes(tmp_path / "steps.npz", ReplayEpisodes(played.replay, ("NOOP", "RIGHT", "LEFT")))
    assert (
        dream.main(["rem", "--dataset", "steps.npz", "--config", str(quick), "--run-name", "off"])
        == 0
    )
    (tmp_path / "steps.npz").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = tmp_path / "atari_vlm_results" / "off"
    assert resume(run, "--epochs", 3) == 0 and len(metrics(run)) == 3
    assert read_checkpoint(run / "model").config["action_names"] == ["NOOP", "RIGHT", "LEFT"]
    assert (
        dream.main(["eval", str(run / "model")]) == 2 and "give --game" in capsys.readouterr().err
    )
    shutil.rmtree(run / "checkpoints")
    assert resume(run) == 2 and "give --dataset" in capsys.readouterr().err


@pytest.mark.parametrize("game", ["evil:Game-v0", "run.evil:Game-v0"])
def test_no_module_is_imported_because_a_run_says_so(run, game, tmp_path, monkeypatch, capsys):
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    (run / "evil.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    edited(run, lambda config: config["command"].update(game=game))
    redo(run)
    assert resume(run) == 2
    assert "was made with --game" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--device", "cuda"),
        ("eval", "--device", "meta"),
        ("eval", "--temperature", "nan"),
        ("eval", "--imagine-temperature", "inf"),
        ("rem", "--device", "xla", "--game", GAME),
        ("rem", "--device", "hpu:1", "--game", GAME),
        ("rem", "--seed", "-1", "--game", GAME),
    ],
)
def test_devices_temperatures_and_seeds_that_are_none_are_refused(
    finished, words, tmp_path, capsys
):
    command, *rest = words
    place = (
        [str(finished / "model")] if command == "eval" else ["--save-dir", str(tmp_path / "new")]
    )
    assert dream.main([command, *place, *rest]) == 2
    assert "error: " in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_export_reads_any_run(finished, tmp_path):
    assert dream.main(["export", str(finished), "--out", str(tmp_path / "steps.npz")]) == 0
    with np.load(tmp_path / "steps.npz") as steps:
        assert len(steps["actions"]) == 40

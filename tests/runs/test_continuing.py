"""What a run that is continued may be asked for: more of the same, otherwise carried out, and nothing else."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from atari_vlm import evaluate, plan, train
from atari_vlm.runs import run_folder
from atari_vlm.runs.continuing import ResumeRules, differences, is_extension
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.run_folder import RunFolder, RunRequest

QUICK = ["--videos", "0", "--max-steps", "4"]
TRAIN = ["--game", "Catch", *QUICK, "--num-episodes", "2", "--num-eval-episodes", "1", "--use-icl"]


def rows(run):
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        return [
            (row, journal.steps(row.episode), len(journal.calls(row.episode)))
            for row in journal.episodes()
        ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Finished, and one that a limit of three calls stopped."""
    folder = tmp_path_factory.mktemp("trained")
    words = [*TRAIN, "--save-dir", str(folder), "--run-name"]
    assert train.main([*words, "finished"]) == 0
    assert train.main([*words, "stopped", "--max-calls", "3"]) == 75
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A finished run of a test's own."""
    return shutil.copytree(trained / "finished", tmp_path / "run")


def test_a_finished_training_run_is_extended_and_its_first_part_stays(run, capsys):
    first = rows(run)
    assert [row.phase for row, *_ in first] == ["train", "train", "eval"]
    assert train.main(["--resume", str(run), "--num-episodes", "3"]) == 0
    said = capsys.readouterr()
    longer = rows(run)
    assert longer[:3] == first and [row.phase for row, *_ in longer[3:]] == ["train", "eval"]
    assert "8 decisions made now" in said.out  # four steps each of two new episodes
    assert train.main(["--resume", str(run), "--num-eval-episodes", "3"]) == 0
    longest = rows(run)
    assert longest[:5] == longer and [row.seed - longer[4][0].seed for row, *_ in longest[5:]] == [
        2,
        4,
    ]
    assert train.main(["--resume", str(run)]) == 0
    assert "0 decisions made now" in capsys.readouterr().out and rows(run) == longest
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert [part["plan.num_episodes"] for part in config["parts"]] == [2, 3]
    for wrong, named in (
        (["--num-episodes", "2"], "plan.num_episodes was 3, is now 2"),
        (["--max-steps", "5"], "max_steps was 4, is now 5"),
        (["--eval-interval", "1", "--num-episodes", "9"], "plan.eval_interval was 10, is now 1"),
        (["--game", "Breakout"], "game_name was 'Catch', is now 'Breakout'"),
    ):
        assert train.main(["--resume", str(run), *wrong]) == 73
        assert named in capsys.readouterr().err
    assert rows(run) == longest


def test_what_only_says_how_a_run_is_carried_out_may_change(run, tmp_path):
    more = [
        "--parallel",
        "2",
        "--max-calls",
        "99",
        "--timeout-s",
        "5",
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert train.main(["--resume", str(run), *more]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["execution"]["parallel"] == 2


def test_plans_are_extended_with_every_variant(tmp_path):
    words = [
        "--game",
        "Catch",
        "--world-model",
        "catch",
        "--ablation",
        "--videos",
        "0",
        "--plan-horizon",
        "4",
    ]
    assert (
        plan.main([*words, "--num-episodes", "1", "--save-dir", str(tmp_path), "--run-name", "run"])
        == 0
    )
    first = rows(tmp_path / "run")
    assert plan.main(["--resume", str(tmp_path / "run"), "--num-episodes", "2"]) == 0
    longer = rows(tmp_path / "run")
    assert (
        longer[:5] == first and len(longer) == 10 and len({row.seed for row, *_ in longer[5:]}) == 1
    )
    whole = tmp_path / "whole"
    assert (
        plan.main(
            [*words, "--num-episodes", "2", "--save-dir", str(tmp_path), "--run-name", "whole"]
        )
        == 0
    )
    returns = [
        sorted((row.seed, row.episode_return) for row, *_ in rows(path))
        for path in (tmp_path / "run", whole)
    ]
    assert returns[0] == returns[1]


def test_an_evaluation_gets_more_of_everything(tmp_path, capsys):
    words = ["--games", "Catch", "--seeds", "0", "--max-steps", "3", "--save-dir", str(tmp_path)]
    assert evaluate.main([*words, "--run-name", "run"]) == 0
    first = rows(tmp_path / "run")
    more = [
        "--games",
        "Catch",
        "SoloPong",
        "--seeds",
        "0",
        "5",
        "--agents",
        "noop",
        "nearest-example",
        "--episodes",
        "2",
    ]
    assert evaluate.main(["--resume", str(tmp_path / "run"), *more]) == 0
    longer = rows(tmp_path / "run")
    assert longer[: len(first)] == first and len(longer) == 2 * 3 * 2 * 2
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(results["runs"]) == 12 and not any("Unfinished" in note for note in results["notes"])
    assert evaluate.main(["--resume", str(tmp_path / "run"), "--seeds", "5"]) == 73
    assert "seeds was [0, 5], is now [5]" in capsys.readouterr().err


def test_settings_that_did_not_exist_take_their_default():
    rules = ResumeRules(
        defaults={"agent": {"frames": 2, "new": False}}, amounts=("n",), free=("device",)
    )
    old = {"settings": {"agent": {"frames": 2}, "n": 3, "sizes": [32, 16]}}
    assert (
        differences(old, {"agent": {"frames": 2, "new": False}, "n": 3, "sizes": (32, 16)}, rules)
        == {}
    )
    assert (
        differences(
            old, {"agent": {"frames": 2}, "n": 3, "sizes": [32, 16], "device": "cpu"}, rules
        )
        == {}
    )
    changed = differences(
        old, {"agent": {"frames": 2, "new": True}, "n": 4, "sizes": [32, 16]}, rules
    )
    assert changed == {"agent.new": (False, True), "n": (3, 4)} and not is_extension(changed, rules)
    assert is_extension({"n": (3, 4)}, rules) and not is_extension({"n": (4, 3)}, rules)
    assert not is_extension({"n": (True, 4)}, rules) and not is_extension({}, rules)


def test_an_old_run_without_newer_settings_goes_on_with_the_same_command(tmp_path, capsys):
    command = [*TRAIN, "--save-dir", str(tmp_path)]
    assert train.main([*command, "--max-calls", "5"]) == 75
    (path,) = tmp_path.glob("*/config.yaml")
    config = yaml.safe_load(path.read_text())
    for name in ("directory", "command_line"):
        del config[name]
    del config["settings"]["agent"]["decide_every"]
    del config["settings"]["in_context"]["candidates"]
    path.write_text(yaml.safe_dump(config))
    capsys.readouterr()
    assert train.main(command) == 0
    assert f"run {path.parent} (continued)" in capsys.readouterr().err


def test_a_place_means_what_it_meant_where_the_run_was_started(tmp_path):
    config = {"settings": {"dream": "models/a"}, "directory": str(tmp_path)}
    assert differences(config, {"dream": str(tmp_path / "models" / "a")}, ResumeRules()) == {}
    assert (
        differences(config, {"dream": "models/a"}, ResumeRules()) == {}
    )  # there is none: the id of a model
    (tmp_path / "models" / "a").mkdir(parents=True)
    assert differences(config, {"dream": "models/a"}, ResumeRules()) == {
        "dream": ("models/a", "models/a")
    }


@pytest.mark.parametrize("parts", ["x", [1], [{"elsewhere": 1}], {"a": 1}])
def test_parts_that_are_none_are_refused(trained, tmp_path, capsys, parts):
    path = shutil.copytree(trained / "stopped", tmp_path / "run") / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "parts": parts}))
    capsys.readouterr()
    assert train.main(["--resume", str(tmp_path / "run"), "--max-calls", "99"]) == 2
    assert "parts" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["_rewrite_config", "set_meta"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_a_run_is_extended_does_not_lose_the_extension(
    run, monkeypatch, place, moment
):
    """Whichever of the two writes is the last, the same command goes on and plays what was asked for more."""
    owner = Journal if place == "set_meta" else run_folder
    write = getattr(owner, place)

    def killed(*arguments, **values):
        if moment == "after":
            write(*arguments, **values)
        raise KeyboardInterrupt

    longer = ["--resume", str(run), "--num-episodes", "3"]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(owner, place, killed)
        RunFolder.open(_request_of(run, 3))
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        extended = yaml.safe_load((run / "config.yaml").read_text()).get("parts")
        assert not (extended and journal.meta()["finished"])
    assert train.main(longer) == 0
    assert [row.phase for row, *_ in rows(run)] == ["train", "train", "eval", "train", "eval"]


def _request_of(run, episodes):
    """What ``train --resume`` asks the folder for."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    settings = config["settings"]
    settings = {**settings, "plan": {**settings["plan"], "num_episodes": episodes}}
    command = {**config["command"], "num_episodes": episodes}
    rules = ResumeRules(amounts=("plan.num_episodes",))
    return RunRequest(run.parent, "x", settings, {}, resume=str(run), command=command, rules=rules)


def test_a_run_killed_while_extended_goes_on_with_its_first_command_too(run, monkeypatch):
    command = [*TRAIN, "--save-dir", str(run.parent), "--run-name", "run"]
    before = rows(run)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(run_folder, "_rewrite_config", killed)
        RunFolder.open(_request_of(run, 3))
    assert train.main(command) == 0 and rows(run) == before
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        assert journal.meta()["finished"] is True

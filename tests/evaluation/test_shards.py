"""A study in parts: every unit on exactly one machine, and all parts together are the study that one machine plays."""

from __future__ import annotations

import dataclasses
import importlib
import json
import random
import shutil
import sqlite3
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm import evaluate as program
from atari_vlm import report
from atari_vlm.errors import ConfigError, MismatchError, RunError
from atari_vlm.evaluation.cells import cells, units
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.merging import merge
from atari_vlm.evaluation.study import Study
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.run_folder import read_config
from atari_vlm.runs.sharding import Shard

LANE = "own_games:Lane-v0,steps=8"
AGENTS = [
    "taught=own_players:LightVLM,frames=1,use_icl=true,num_episodes=2,round_size=1",
    "mine=own_players:Steering,skill=0.5",
]
TABLES = "results.csv results.json results.md results.tex episodes.csv paired.csv".split()
SHARDS = 3


def config(folder, shard="1/1", **changes):
    options = {"games": [LANE], "agents": AGENTS, "seeds": [0, 1], "ablate": ["frames"]}
    where = {"save_dir": folder, "run_name": "whole" if shard == "1/1" else shard.replace("/", "-")}
    return EvaluateConfig(**{**options, "max_steps": 3, **where, "shard": shard, **changes})


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The study as one, and in parts."""
    folder = tmp_path_factory.mktemp("shards")
    evaluate(config(folder))
    parts = [evaluate(config(folder, f"{n}/{SHARDS}"))[0] for n in range(1, SHARDS + 1)]
    return folder / "whole", parts


def rows(folder, table):
    with sqlite3.connect(folder / "journal.sqlite") as db:
        return db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()


def without_clocks(text):
    """Seconds of replies stand in the tables of an ablation, and in results.json."""
    content = json.loads(text)
    for row in content["ablation"]:
        row.pop("latency_s")
    return content


@given(st.integers(1, 40), st.integers(0, 60))
def test_every_unit_is_in_one_shard(count, length):
    shards = [Shard(number, count).of(range(length)) for number in range(1, count + 1)]
    assert sorted(unit for shard in shards for unit in shard) == list(range(length))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    "word", ["0/3", "4/3", "3/2", "1/0", "a/b", "1", "1/2/3", "-1/2", "1/٢", ""]
)
def test_what_is_no_shard_is_refused(word):
    with pytest.raises(ConfigError, match="i from 1 to n"):
        EvaluateConfig(shard=word)


def test_the_program_refuses_it_in_one_sentence(capsys):
    assert program.main(["--games", "Catch", "--shard", "3/2"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and "i from 1 to n" in line and line.count("\n") == 1


def test_with_as_many_shards_as_agents_each_has_one_agent():
    study = Study(config("x", games=["Catch"], agents=["noop", "nearest-example"], ablate=[]))
    assert len(study.agents) == 3
    for number in (1, 2, 3):
        mine = Shard(number, 3).of(units(study))
        assert {unit[1] for unit in mine} == {study.agents[number - 1].label}


def test_a_shard_loads_no_agent_of_another(tmp_path, monkeypatch):
    made = []
    players = importlib.import_module("own_players")
    monkeypatch.setattr(players.LightVLM, "__init__", lambda self, **options: made.append(options))
    changes = {"games": ["Catch"], "agents": ["noop", "eye=own_players:LightVLM"], "ablate": []}
    evaluate(config(tmp_path, "2/3", **changes))
    assert not made


def test_the_parts_together_are_the_whole_to_the_byte(played, tmp_path):
    whole, parts = played
    shuffled = [*parts, parts[1]]
    random.Random(1).shuffle(shuffled)
    merge(shuffled, tmp_path / "merged")
    for name in TABLES:
        ours, theirs = ((folder / name).read_text() for folder in (tmp_path / "merged", whole))
        if name == "results.json":
            ours, theirs = without_clocks(ours), without_clocks(theirs)
        elif name == "results.md":
            ours, theirs = (text.partition("## Ablation")[0] for text in (ours, theirs))
        assert ours == theirs, name
    assert [row[:9] for row in rows(tmp_path / "merged", "episodes")] == [
        row[:9] for row in rows(whole, "episodes")
    ]
    steps = [[row[:8] for row in rows(folder, "steps")] for folder in (tmp_path / "merged", whole)]
    assert steps[0] == steps[1]
    notes = [Journal(f / "journal.sqlite", read_only=True) for f in (tmp_path / "merged", whole)]
    first, second = (journal.meta() for journal in notes)
    assert first == second and first["finished"]


def test_what_is_merged_is_a_run_as_any_other(played, tmp_path, capsys):
    _, parts = played
    out = tmp_path / "merged"
    assert report.main(["merge", *map(str, parts), "--out", str(out)]) == 0
    assert "| own_games:Lane-v0 | random |" in capsys.readouterr().out
    assert "shard" not in read_config(out)["settings"]
    before = (out / "results.csv").read_text()
    assert report.main(["merge", *map(str, parts), "--out", str(out)]) == 0  # nothing is done twice
    assert (out / "results.csv").read_text() == before
    more = evaluate(config(tmp_path, run_name=None, resume=str(out), seeds=[0, 1, 2]))[1]
    assert {run.seed for run in more.runs} == {0, 1, 2}
    with pytest.raises(RunError, match="other settings"):
        merge(parts, out)


def test_a_missing_or_unfinished_shard_is_named_and_nothing_is_written(played, tmp_path, capsys):
    _, parts = played
    out = tmp_path / "merged"
    words = ["merge", *map(str, [*parts[:1], *parts[2:]]), "--out", str(out)]
    assert report.main(words) == 2 and not out.exists()
    assert f"missing shard is 2/{SHARDS}" in capsys.readouterr().err
    assert report.main([*words, "--partial"]) == 0
    assert "Unfinished" in (out / "results.md").read_text()
    assert not Journal(out / "journal.sqlite", read_only=True).meta().get("finished")
    merge(parts, out)
    assert (out / "results.csv").read_text() == (played[0] / "results.csv").read_text()
    unfinished = shutil.copytree(parts[1], tmp_path / "unfinished")
    with sqlite3.connect(unfinished / "journal.sqlite") as db:
        db.execute("DELETE FROM episodes WHERE episode = (SELECT max(episode) FROM episodes)")
    with pytest.raises(RunError, match="damaged"):
        merge([*parts[:1], unfinished, *parts[2:]], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_study_that_was_stopped_is_named(tmp_path):
    small = {"games": [LANE], "agents": ["noop"], "ablate": [], "seeds": [0, 1]}
    first, _ = evaluate(config(tmp_path, "1/2", **small))
    second, _ = evaluate(config(tmp_path, "2/2", **small))
    with Journal(second / "journal.sqlite") as journal:
        row = journal.episodes()[-1]
        journal.finish_episode(dataclasses.replace(row, status="running"))
    with pytest.raises(ConfigError, match="not finished: shard 2/2"):
        merge([first, second], tmp_path / "out")


def test_shards_of_different_studies_are_refused(played, tmp_path, capsys):
    _, parts = played
    other, _ = evaluate(config(tmp_path, f"2/{SHARDS}", max_steps=4))
    halves, _ = evaluate(config(tmp_path, "1/2", run_name="half"))
    for path, said in ((other, "max_steps 3 and 4"), (halves, "shards 3 and 2")):
        words = ["merge", str(parts[0]), str(path), "--out", str(tmp_path / "out")]
        assert report.main(words) == 2
        line = capsys.readouterr().err
        assert "different studies" in line and said in line and not (tmp_path / "out").exists()
    again = shutil.copytree(parts[1], tmp_path / "again")
    merge([*parts, again], tmp_path / "out")
    with Journal(again / "journal.sqlite") as journal:
        row = journal.episodes()[0]
        journal.finish_episode(dataclasses.replace(row, episode_return=99.0))
    with pytest.raises(MismatchError, match=r"both shard 2/3, and were played differently"):
        merge([*parts, again], tmp_path / "out2")


def test_a_shard_without_units_is_a_shard(tmp_path):
    small = {"games": ["Catch"], "agents": ["random"], "ablate": [], "seeds": [3]}
    folders = [evaluate(config(tmp_path, f"{n}/3", **small))[0] for n in (1, 2, 3)]
    assert [len(cells(Study(config(tmp_path, f"{n}/3", **small)))) for n in (1, 2, 3)] == [1, 0, 0]
    words = ["--games", "Catch", "--agents", "random", "--seeds", "3", "--max-steps", "4"]
    assert program.main([*words, "--shard", "2/3", "--save-dir", str(tmp_path / "p")]) == 0
    assert (
        merge(folders[::-1], tmp_path / "out").runs == evaluate(config(tmp_path, **small))[1].runs
    )


def test_a_shard_is_told_as_one_and_is_not_handed_in(played, capsys):
    _, parts = played
    assert "Shard 1/3 of a study" in (parts[0] / "results.md").read_text()
    assert report.main(["submit", str(parts[0])]) == 2
    assert "merge the shards first" in capsys.readouterr().err
    assert program.main(["--games", "Catch", "--shard", "1/2", "--estimate"]) == 2
    assert "--estimate is of the whole study" in capsys.readouterr().err


def strange(parts, folder, change):
    """The shards with a config.yaml of another hand in the first."""
    first = shutil.copytree(parts[0], folder)
    content = yaml.safe_load((first / "config.yaml").read_text())
    change(content)
    (first / "config.yaml").write_text(yaml.safe_dump(content))
    return [first, *parts[1:]]


def noted(change):
    """A change of what the journal notes of the study."""

    def apply(path):
        with Journal(path / "journal.sqlite") as journal:
            study = journal.meta()["study"]
            change(study)
            journal.set_meta(study=study)

    return apply


FORGED = {
    "a thousand agents": lambda study: study["variants"].extend(
        {"agent": f"x{n}", "factor": "", "condition": None, "lessons": 0} for n in range(1000)
    ),
    "a billion lessons": lambda study: study["variants"][0].update(lessons=10**9),
    "a model that is no word": lambda study: study["entrants"][0].update(model={"a": 1}),
    "an unknown part": lambda study: study.update(run="os.system"),
    "nothing": lambda study: study.clear(),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_a_stranger_notes_of_a_study_is_held_to_its_form(what, played, tmp_path):
    parts = [shutil.copytree(played[1][0], tmp_path / "first"), *played[1][1:]]
    noted(FORGED[what])(parts[0])
    with pytest.raises(ConfigError):
        merge(parts, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_of_a_strangers_shard_is_run(played, tmp_path, monkeypatch):
    """A module that its settings name is not imported, a link is not followed, an agent is not made."""
    (tmp_path / "canary_games.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)

    def planted(content):
        content["settings"]["games"] = content["command"]["games"] = ["canary_games:Lane-v0"]
        content["settings"]["agents"][-1] = "mine=canary_games:Agent"
        content["command"]["agents"] = [*AGENTS[:-1], "mine=canary_games:Agent"]

    with pytest.raises((ConfigError, RunError)):
        merge(strange(played[1], tmp_path / "first", planted), tmp_path / "out")
    assert "canary_games" not in sys.modules and not (tmp_path / "out").exists()
    linked = shutil.copytree(played[1][0], tmp_path / "linked")
    (linked / "config.yaml").rename(tmp_path / "elsewhere.yaml")
    (linked / "config.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(ConfigError, match="symbolic link"):
        merge([linked, *played[1][1:]], tmp_path / "out")


def test_settings_and_command_must_agree(played, tmp_path):
    def other(content):
        content["settings"]["max_steps"] = 40_000

    with pytest.raises(ConfigError, match="disagree about max_steps"):
        merge(strange(played[1], tmp_path / "first", other), tmp_path / "out")


def test_the_place_of_the_whole_is_free_or_its_own(played, tmp_path):
    _, parts = played
    (tmp_path / "taken").mkdir()
    for out, said in ((parts[0], "one of the shards"), (tmp_path / "taken", "is no run")):
        with pytest.raises(ConfigError, match=said):
            merge(parts, out)
    with pytest.raises(ConfigError, match=r"no config\.yaml"):
        merge([tmp_path / "taken"], tmp_path / "out")


@pytest.mark.slow
def test_seven_of_seven_by_the_program_are_the_whole_to_the_byte(tmp_path):
    """22 units of two games with an ablation; in the ablation's tables the only clock reads nought."""
    words = (
        "--games Catch Pong --agents nearest-example noop --seeds 0 1 --max-steps 6 --ablate frames"
    )
    where = [*words.split(), "--save-dir", str(tmp_path), "--run-name"]
    assert program.main([*where, "whole"]) == 0
    for number in range(1, 8):
        assert program.main([*where, f"s{number}", "--shard", f"{number}/7"]) == 0
    shards = [str(tmp_path / f"s{number}") for number in (5, 1, 7, 3, 3, 2, 6, 4)]
    assert report.main(["merge", *shards, "--out", str(tmp_path / "merged")]) == 0
    for name in [*TABLES, "ablation.csv"]:
        whole, merged = ((tmp_path / run / name).read_bytes() for run in ("whole", "merged"))
        assert whole == merged, name

"""Own runs are read from their folders with their state; what cannot be compared is refused with a sentence."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import gymnasium
import pytest
import yaml
from own_run_folders import rem_run, vlm_run

from atari_vlm.errors import ConfigError, MismatchError, RunError
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.reporting.atari100k.own_runs import own_methods, read_runs
from atari_vlm.training.in_context.trainer import VLMTrainer


def test_a_finished_rem_run(tmp_path):
    (run,) = read_runs([str(rem_run(tmp_path / "Pong-rem-001", {10: -15.0, 34: 11.0}, seed=3))])
    assert (run.method, run.game, run.seed, run.score, run.episodes) == (
        "own tiny",
        "Pong",
        3,
        11.0,
        50,
    )
    assert (run.state, run.steps, run.fallback_rate) == ("finished", 3600, None)
    assert run.curve == ((1500.0, -15.0), (3600.0, 11.0))
    assert run.normalised == pytest.approx((11 + 20.7) / (14.6 + 20.7))
    assert "sticky actions 0" in run.conditions and "27,000" in run.conditions


def test_an_unfinished_rem_run_stands_as_far_as_it_is(tmp_path):
    folder = rem_run(tmp_path / "run", {10: -15.0}, epochs=12)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 13, "collec')  # killed while writing
    (run,) = read_runs([str(folder)])
    assert run.state == "epoch 12 of 34, evaluated at 10" and run.score == -15.0
    assert [m.label for m in own_methods([run])] == ["own tiny (unfinished)"]


@pytest.mark.parametrize(
    ("epochs", "state"),
    [(3, "epoch 3 of 34, no evaluation yet"), (0, "epoch 0 of 34, no evaluation yet")],
)
def test_a_rem_run_without_an_evaluation_has_no_score(tmp_path, epochs, state):
    folder = rem_run(tmp_path / "run", {}, epochs=epochs)
    if epochs == 0:
        (folder / "metrics.jsonl").unlink()
    (run,) = read_runs([str(folder)])
    assert run.score is None and run.normalised is None and run.state == state
    assert own_methods([run]) == []


def test_a_rem_run_from_a_dataset_says_that_it_plays_nothing(tmp_path):
    folder = rem_run(tmp_path / "run", {}, game="steps.npz")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["command"] = {"dataset": "steps.npz", "preset": "rem"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (run,) = read_runs([str(folder)])
    assert run.state == "finished, trained offline, plays no game" and run.method == "own rem"


def test_runs_of_one_method_are_its_seeds(tmp_path):
    folders = [rem_run(tmp_path / f"r{i}", {34: float(i)}, seed=i) for i in range(3)]
    folders.append(rem_run(tmp_path / "breakout", {34: 30.0}, game="AtariVLM/Breakout-v5"))
    mine, tuned = own_methods(
        read_runs([*map(str, folders[:2]), str(folders[3]), f"tuned={folders[2]}"])
    )
    assert mine.scores == {"Pong": (0.0, 1.0), "Breakout": (30.0,)} and mine.runs == "1 to 2"
    assert (
        tuned.name == "tuned"
        and tuned.scores == {"Pong": (2.0,)}
        and tuned.source == "own runs: r2"
    )


def test_a_run_counts_once_and_other_settings_are_another_method(tmp_path):
    one = rem_run(tmp_path / "one", {34: 1.0})
    again = rem_run(tmp_path / "again", {34: 1.0})
    other = rem_run(
        tmp_path / "other", {34: 1.0}, seed=1, changes={"actor_critic": {"entropy": 0.5}}
    )
    with pytest.raises(ConfigError, match="counts once"):
        read_runs([str(one), str(again)])
    with pytest.raises(MismatchError, match=r"one and other.*entropy: 0.02 and 0.5.*NAME=RUN"):
        read_runs([str(one), str(other)])
    assert [run.method for run in read_runs([str(one), f"loud={other}"])] == ["own tiny", "loud"]


def test_the_newest_evaluation_of_a_vlm_run_counts(tmp_path):
    folder = vlm_run(
        tmp_path / "run",
        [
            {"after": 0, "episode_rewards": [-21.0]},
            {"after": 4, "episode_rewards": [-3.0, -5.0], "fallback_rate": 0.25},
        ],
        use_in_context_learning=True,
    )
    (run,) = read_runs([str(folder)])
    assert (run.method, run.score, run.episodes, run.fallback_rate) == (
        "own gpt-4o ICL",
        -4.0,
        2,
        0.25,
    )
    assert (
        run.state == "finished" and "sticky actions 0.25, episodes cut after 300" in run.conditions
    )


def test_an_ablation_is_one_method_per_strategy_and_a_dream_is_not_the_game(tmp_path):
    lines = [
        {"strategy": name, "after": 0, "episode_rewards": [1.0]} for name in ("plan", "plan, model")
    ]
    folder = vlm_run(tmp_path / "run", lines, program="plan", dream="model", finished=False)
    runs = read_runs([str(folder)])
    assert [run.method for run in runs] == ["own gpt-4o plan: plan", "own gpt-4o plan: plan, model"]
    assert {(run.game, run.state, run.normalised) for run in runs} == {
        ("Pong (dreamed)", "unfinished", None)
    }


def test_a_vlm_run_without_a_finished_evaluation(tmp_path):
    folder = vlm_run(tmp_path / "run", [], finished=False)
    assert [(run.score, run.state) for run in read_runs([str(folder)])] == [
        (None, "no evaluation yet")
    ]
    head = "episode,phase,seed,episode_return,length,fallback_rate,cost_usd\n"
    (folder / "episodes.csv").write_text(
        head + "0,train,0,9.0,10,0.0,0\n1,eval,1,-2.0,30,0.1,0\n2,eval,3,-4.0,10,0.5,0\n"
    )
    (run,) = read_runs([str(folder)])
    assert (run.score, run.episodes, run.state) == (-3.0, 2, "unfinished")
    assert run.fallback_rate == pytest.approx((3 + 5) / 40)


def test_a_real_run_of_the_trainer(tmp_path):
    trainer = VLMTrainer(
        "Pong-v5", "scripted", save_dir=str(tmp_path), max_steps=12, videos=0, seed=5
    )
    trainer.evaluate(2)
    folder = trainer.run.path
    trainer.close()
    (run,) = read_runs([str(folder)])
    assert (run.method, run.game, run.seed, run.episodes, run.fallback_rate) == (
        "own scripted ICL",
        "Pong",
        5,
        2,
        0.0,
    )
    assert run.score == 0.0 and run.conditions.endswith("cut after 12 steps")


def test_each_agent_of_a_real_evaluation_is_a_method(tmp_path):
    folder, _ = evaluate(
        EvaluateConfig(["Pong", "Adventure"], seeds=[0, 2], max_steps=4, save_dir=tmp_path)
    )
    runs = read_runs([f"mine={folder}"])
    assert {run.method for run in runs} == {"mine random", "mine scripted"} and len(runs) == 8
    assert {run.seed for run in runs} == {0, 2} and {run.state for run in runs} == {"finished"}
    content = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(
        json.dumps({**content, "notes": ["Unfinished: 3 episodes are still to be played"]})
    )
    assert {run.state for run in read_runs([str(folder)])} == {"unfinished evaluation"}
    (folder / "results.json").unlink()
    with pytest.raises(ConfigError, match=r"no results.json yet"):
        read_runs([str(folder)])


def test_folders_that_are_no_runs_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for word in (tmp_path / "nowhere", tmp_path / "empty", f"name={tmp_path / 'empty'}"):
        with pytest.raises(ConfigError, match="not a run folder"):
            read_runs([str(word)])
    folder = rem_run(tmp_path / "other", {})
    (folder / "config.yaml").write_text("identity: 0\nsettings: {program: bake}\n")
    with pytest.raises(ConfigError, match="none of the programs"):
        read_runs([str(folder)])


def test_folders_of_another_make_are_refused_in_a_sentence(tmp_path):
    folder = rem_run(tmp_path / "rem", {34: 1.0})
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["settings"]["rem"]["play"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="not as this version writes its runs: KeyError 'play'"):
        read_runs([str(folder)])
    folder = vlm_run(tmp_path / "vlm", [])
    (folder / "journal.sqlite").write_bytes(b"no database")
    with pytest.raises(RunError, match="journal"):
        read_runs([str(folder)])
    with pytest.raises(ConfigError, match="begins with a letter"):
        read_runs([f"_hidden={folder}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"epoch": 1}\nnonsense\n{"epoch": 2}\n', "line 2, cannot be read"),
        ('{"epoch": 1}\n[3]\n{"epoch": 2}\n', "line 2, holds no named values"),
        ('{"epoch": 1}\n\ufffd\n{"epoch": 2}\n', "line 2, cannot be read"),
        ('{"evaluation/return": 1, "evaluation/episodes": 2}\n', "KeyError 'epoch'"),
        ('{"epoch": 1, "evaluation/return": NaN, "evaluation/episodes": 2}\n', "no finite number"),
        (
            '{"epoch": 1, "evaluation/return": "many", "evaluation/episodes": 2}\n',
            "no finite number",
        ),
    ],
)
def test_damaged_metrics_are_refused(tmp_path, text, message):
    folder = rem_run(tmp_path / "run", {})
    (folder / "metrics.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_runs([str(folder)])


def test_a_real_rem_run(tmp_path, monkeypatch):
    """One epoch of REM through the program, and what it leaves is what these tests make up."""
    from atari_vlm import dream

    game = "OwnRunsCatch-v0"
    if game not in gymnasium.registry:
        from atari_vlm.world_models.catch import CatchWorldModel
        from atari_vlm.wrappers import WorldModelEnv

        gymnasium.register(
            game, lambda **o: WorldModelEnv(CatchWorldModel(5, 4, cell_px=16, num_balls=2), **o)
        )
    quick = {"steps": 1, "batch": 2}
    settings = {
        "play": {"steps": 20, "eval_every": 1, "final_episodes": 2},
        "tokenizer": {"updates": quick},
        "world_model": {"updates": quick},
        "actor_critic": {"updates": quick},
    }
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump({"settings": settings}))
    options = [
        "--preset",
        "tiny",
        "--epochs",
        "1",
        "--config",
        str(tmp_path / "quick.yaml"),
        "--seed",
        "7",
    ]
    assert dream.main(["rem", "--game", game, *options, "--save-dir", str(tmp_path / "runs")]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    (run,) = read_runs([str(folder)])
    assert (run.method, run.game, run.seed, run.episodes) == ("own tiny", game, 7, 2)
    assert (
        run.state == "finished"
        and run.steps == 20
        and -1 <= run.score <= 1
        and run.normalised is None
    )
    made_up = yaml.safe_load((rem_run(tmp_path / "hand", {}) / "config.yaml").read_text())
    real = yaml.safe_load((folder / "config.yaml").read_text())
    assert made_up["settings"]["rem"].keys() == real["settings"]["rem"].keys()
    assert (
        made_up["settings"].keys() == real["settings"].keys()
        and made_up["command"].keys() <= real["command"].keys()
    )


def test_reading_loads_no_torch(tmp_path):
    folder = rem_run(tmp_path / "run", {34: 1.0})
    code = (
        "import sys; from atari_vlm.reporting.atari100k.own_runs import read_runs; "
        f"assert read_runs([{str(folder)!r}])[0].score == 1; assert not {{'torch', 'matplotlib'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_runs_cannot_be_changed(tmp_path):
    (run,) = read_runs([str(rem_run(tmp_path / "run", {34: 1.0}))])
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.score = 2.0

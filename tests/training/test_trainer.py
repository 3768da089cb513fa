import dataclasses
import json
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from training_helpers import CountingVLM, contents, run_data

from atari_vlm import VLMTrainer
from atari_vlm.agents.in_context.demonstrations import digest_of
from atari_vlm.agents.in_context.examples import STRATEGIES, InContextOptions
from atari_vlm.errors import BudgetExhaustedError, ConfigError, RunError, StoppedError
from atari_vlm.runs.progress import Quiet
from atari_vlm.runs.run_folder import RunFolder, RunRequest, existing_run
from atari_vlm.runs.seeds import eval_seed, train_seed
from atari_vlm.training.in_context.ablation import ablation_table, run_ablation
from atari_vlm.training.in_context.options import TrainerOptions
from atari_vlm.vlm import NearestExampleVLM, ScriptedVLM

STEPS = 12
SMALL = {"max_steps": STEPS, "round_size": 2, "eval_episodes": 1, "videos": 0}


def trainer(folder, vlm=None, **more):
    return VLMTrainer(
        "Pong-v5", vlm or ScriptedVLM(), save_dir=folder, **{**SMALL, "run_name": "run", **more}
    )


def play(folder, vlm=None, **more):
    """A small run; returns its data."""
    with trainer(folder, vlm, **more) as small:
        small.train(3, eval_interval=2)
        small.evaluate(1)
    return run_data(folder / "run")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    vlm = CountingVLM(folder / "calls")
    return play(folder, vlm), vlm.calls


def test_a_run_leaves_everything_behind(reference):
    data, calls = reference
    episodes = data["journal"]["episodes"]
    assert [row.phase for row in episodes] == ["train", "train", "eval", "train", "eval"]
    assert {(row.status, row.length, row.fallback_rate) for row in episodes} == {
        ("done", STEPS, 0.0)
    }
    assert len(data["journal"]["steps"]) == len(data["journal"]["calls"]) == calls == 5 * STEPS
    assert [step.decision["calls"] for step in data["journal"]["steps"][:3]] == [[0], [1], [2]]
    lines = [json.loads(line) for line in data["metrics.jsonl"].splitlines()]
    assert [line["kind"] for line in lines] == ["episode"] * 5 + ["evaluation"] * 2
    assert [line["after"] for line in lines[5:]] == [2, 3]
    assert (
        data["episodes.csv"].splitlines()[0]
        == "episode,phase,seed,episode_return,length,fallback_rate,cost_usd"
    )


def test_results_do_not_depend_on_how_many_run_at_once(tmp_path, reference):
    assert play(tmp_path, parallel=4) == reference[0]


def test_a_finished_run(tmp_path, reference):
    with trainer(tmp_path, videos=1) as small:
        small.train(2)
        path = small.save_results()
        assert small.run.finished
    results = json.loads(path.read_text())
    assert {
        "game_name": "Pong",
        "vlm_type": "scripted",
        "prompt_type": "cot",
    }.items() <= results.items()
    assert results["episode_lengths"] == [STEPS] * 2 and len(results["best_trajectories"]) == 2
    assert set(results["best_trajectories"][0]) == {"total_reward", "length"} and results[
        "seeds"
    ] == [0, 2]
    names = {
        path.relative_to(small.run.path).as_posix()
        for path in small.run.path.rglob("*")
        if path.is_file()
    }
    assert {
        "config.yaml",
        "journal.sqlite",
        "metrics.jsonl",
        "episodes.csv",
        "results.json",
        "report.html",
    } <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    (video,) = (small.run.path / "videos").glob("*")
    assert video.name in ("train-0000.mp4", "train-0001.mp4") and video.read_bytes()[4:8] == b"ftyp"


def test_what_was_played_is_read_and_not_played_again(tmp_path, reference):
    vlm = CountingVLM(tmp_path / "calls")
    assert play(tmp_path, vlm) == reference[0]
    assert play(tmp_path, vlm, run_name=None, resume="run") == reference[0]
    assert vlm.calls == reference[1]


def test_a_run_stopped_between_steps_goes_on(tmp_path, reference):
    class StopsAfter(Quiet):
        def __init__(self, steps):
            self.left, self.event = steps, threading.Event()

        def advanced(self, task, step=None, calls=0):
            self.left -= 1
            if self.left <= 0:
                self.event.set()

    vlm = CountingVLM(tmp_path / "calls")
    for steps, parallel in ((1, 1), (20, 1), (20, 2)):
        stopper = StopsAfter(steps)
        with pytest.raises(StoppedError):
            play(tmp_path, vlm, progress=stopper, stop=stopper.event, parallel=parallel)
    assert play(tmp_path, vlm) == reference[0]
    assert vlm.calls == reference[1]


def test_a_budget_stops_a_run_that_goes_on_with_a_higher_one(tmp_path, reference):
    vlm = CountingVLM(tmp_path / "calls")
    for limit in (18, 50):
        with pytest.raises(BudgetExhaustedError) as raised:
            play(tmp_path, vlm, max_calls=limit, parallel=2)
        assert raised.value.exit_code == 75 and vlm.calls == limit
        done = sum(
            row.status == "done"
            for row in contents(tmp_path / "run" / "journal.sqlite")["episodes"]
        )
        assert len((tmp_path / "run" / "episodes.csv").read_text().splitlines()) == 1 + done
    assert play(tmp_path, vlm, max_calls=reference[1]) == reference[0]


def test_evaluation_never_teaches(tmp_path):
    with trainer(tmp_path) as small:
        small.train(2)
        memory = digest_of(small.library.snapshot())
        first, second = small.evaluate(1), small.evaluate(1)
        assert first == second and digest_of(small.library.snapshot()) == memory
        assert len(small.library) == 2


def test_examples_of_earlier_rounds_are_shown(tmp_path):
    with trainer(
        tmp_path, max_steps=40, in_context=InContextOptions("best", max_examples=2)
    ) as small:
        small.train(3)
        roles = [
            [role for role, _ in small.run.journal.calls(episode)[0].request]
            for episode in range(3)
        ]
    assert roles == [["system", "user"]] * 2 + [["system", *["user", "assistant"] * 2, "user"]]


def test_without_learning_nothing_is_shown(tmp_path):
    with trainer(tmp_path, use_in_context_learning=False) as small:
        small.train(3)
        assert len(small.library) == 0
        assert all(len(call.request) == 2 for call in small.run.journal.calls(2))


def test_evaluation_seeds_are_never_trained_on():
    train = {train_seed(seed, i) for seed in (0, 1, 7) for i in range(500)}
    evaluation = {eval_seed(seed, i) for seed in (0, 1, 7) for i in range(500)}
    assert len(train) == len(evaluation) == 1500 and not train & evaluation
    assert max(train_seed(100_000, 9_999), eval_seed(100_000, 9_999)) < 2**31


def test_one_episode(tmp_path):
    with trainer(tmp_path) as small:
        played = small.run_episode()
        assert (played["length"], played["seed"], len(played["trajectory"])) == (STEPS, 0, STEPS)
        assert len(small.library) == 1


def test_the_ablation_compares_on_the_same_seeds(tmp_path):
    with trainer(tmp_path, NearestExampleVLM(), max_steps=10) as small:
        small.train(1)
        rows = run_ablation(small, 1)
        lines = (small.run.path / "metrics.jsonl").read_text().splitlines()
        evaluations = [json.loads(line) for line in lines if "evaluation" in line]
    assert [row.strategy for row in rows] == ["none", *(s for s in STRATEGIES if s != "none")]
    assert len({tuple(evaluation["seeds"]) for evaluation in evaluations}) == 1
    assert all(
        row.against_none.value == row.mean_return.value - rows[0].mean_return.value for row in rows
    )
    assert len(ablation_table(rows)) == 6


def test_real_time_is_repeatable(tmp_path):
    class Slow(ScriptedVLM):
        def complete(self, messages, *, sampling):
            return dataclasses.replace(
                super().complete(messages, sampling=sampling), latency_s=0.15
            )

    with trainer(tmp_path, Slow(), latency="measured") as small:
        small.train(1)
        steps = small.run.journal.steps(0)
        assert (
            sum(step.info["held_frames"] for step in steps) == 108
        )  # 12 steps x 0.15 s x 60 frames
    with trainer(
        tmp_path, ScriptedVLM(), latency="measured"
    ) as small:  # its own latency is another: the journal's counts
        small.train(1)
        assert small.run.journal.steps(0) == steps and len(small.library) == 1


def test_the_same_settings_continue_the_latest_unfinished_run(tmp_path):
    def path(**more):
        with trainer(tmp_path, run_name=None, **more) as small:
            small.run.journal.set_meta(finished="budget_usd" in more)
            return small.run.path.name

    assert path() == path() == path(budget_usd=1.0) == "Pong-scripted-cot-001"
    assert path() == path(parallel=2) == "Pong-scripted-cot-002"
    assert path(seed=1) == "Pong-scripted-cot-003"
    assert path() == "Pong-scripted-cot-002"


def test_a_run_is_written_by_one_process(tmp_path):
    with (
        trainer(tmp_path) as first,
        pytest.raises(RunError, match="being written by another process"),
    ):
        trainer(tmp_path)
    assert first.run.path.is_dir()
    trainer(tmp_path).close()


def test_other_settings_are_another_run(tmp_path):
    trainer(tmp_path).close()
    with pytest.raises(
        RunError,
        match=r"made with other settings \(in_context.max_examples was 8, is now 3; seed was 0, is now 5",
    ):
        trainer(tmp_path, seed=5, in_context=InContextOptions(max_examples=3))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing"), (b"", "is empty"), (b"x" * 5000, "not a journal")],
)
def test_a_run_that_lost_its_journal_is_not_paid_again(tmp_path, content, message):
    with trainer(tmp_path, max_steps=2) as small:
        small.train(1)
    journal = tmp_path / "run" / "journal.sqlite"
    journal.unlink() if content is None else journal.write_bytes(content)
    with pytest.raises(RunError, match=message):
        trainer(tmp_path, max_steps=2)


def test_a_damaged_config_is_said(tmp_path):
    trainer(tmp_path).close()
    (tmp_path / "run" / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"config.yaml cannot be read"):
        trainer(tmp_path)


def test_a_finished_run_that_is_named_is_read_again(tmp_path):
    with trainer(tmp_path) as small:
        trained = small.train(1)
        small.run.journal.set_meta(finished=True)
    vlm = CountingVLM(tmp_path / "calls")
    with trainer(tmp_path, vlm) as small:
        assert small.train(1) == trained and vlm.calls == 0 and small.run.finished
        small.evaluate(1)  # goes further: no longer finished
        assert not small.run.finished


def test_a_run_that_comes_to_other_episodes_is_refused(tmp_path):
    with trainer(tmp_path) as small:
        small.train(1)
    with trainer(tmp_path) as small, pytest.raises(RunError, match="diverged"):
        small.evaluate(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"parallel": 0},
        {"max_steps": 0},
        {"round_size": 0},
        {"env": {"frame_skp": 3}},
        {"env": {"frame_skip": 0}},
        {"base_url": "http://user:secret@host/v1"},
        {"unknown": 1},
        {"prompt_type": "cto"},
        {"max_calls": 0},
        {"resume": "absent", "run_name": None},
    ],
)
def test_wrong_arguments_leave_no_run(tmp_path, wrong):
    with pytest.raises(ConfigError) as raised:
        trainer(tmp_path, **wrong).close()
    assert "secret" not in str(raised.value)
    assert not (tmp_path / "run" / "journal.sqlite").exists()


def test_wrong_game_and_vlm(tmp_path):
    for game, vlm in (("Pongg", "scripted"), ("Pong", "scriptd")):
        with pytest.raises(ConfigError, match="did you mean"):
            VLMTrainer(game, vlm, save_dir=tmp_path)


NAMES = [
    "..",
    ".",
    "",
    "/",
    "a/b",
    "../x",
    "/etc",
    "a\0b",
    "~",
    "~root",
    "C:\\x",
    "con",
    "nul.txt",
    "a\n",
    "..\\x",
    "a" * 65,
    "-x",
]


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.text(max_size=80), st.sampled_from(NAMES), st.text("./\\~a\0", max_size=8)))
@example("ok-1.2_3")
def test_run_names_stay_in_their_folder(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp() / "names"
    request = RunRequest(root / "runs", "label", {}, {}, run_name=name)
    try:
        run = RunFolder.open(request)
    except ConfigError:
        pass
    else:
        run.close()
        assert run.path.resolve().parent == (root / "runs").resolve() and run.path.name == name
    assert not root.exists() or {path.name for path in root.iterdir()} <= {"runs"}


@settings(max_examples=15, deadline=None)
@given(st.text(max_size=60))
@example("../../etc/passwd")
def test_labels_become_names(tmp_path_factory, label):
    root = tmp_path_factory.getbasetemp() / "labels"
    run = RunFolder.open(RunRequest(root, label, {"label": label}, {}))
    run.close()
    assert run.path.resolve().parent == root.resolve()


def test_a_link_is_no_run(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        trainer(tmp_path)
    with pytest.raises(ConfigError):
        existing_run(tmp_path, "../elsewhere")


def test_settings_are_plain_data():
    options = TrainerOptions(env={"resize_shape": (84, 84)}, cache="replies.sqlite")
    assert json.loads(json.dumps(options.settings()))["env"]["resize_shape"] == [84, 84]
    assert options.execution()["cache"] == "replies.sqlite"
    assert "api_key" not in {field.name for field in dataclasses.fields(options)}


def test_a_game_that_draws_nothing_is_filmed_as_its_agents_see_it(tmp_path):
    more = {"save_dir": tmp_path, "run_name": "run", **SMALL, "videos": 1}
    with VLMTrainer("own_games:Lane-v0", NearestExampleVLM(), **more) as small:
        small.evaluate(1)
        small.save_results()
        (video,) = (small.run.path / "videos").glob("*.mp4")
        assert video.stat().st_size > 500

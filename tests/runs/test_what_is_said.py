"""What a program says of its play: who answered, what was not the model's, what was cut, what would be ignored."""

from __future__ import annotations

import json

import pytest
from fake_server import FakeVendorServer

from atari_vlm import evaluate, plan, train
from atari_vlm.evaluation.results import (
    Results,
    Run,
    agent_scores,
    game_scores,
)
from atari_vlm.evaluation.results_files import to_json, to_markdown
from atari_vlm.reporting.page.run_report import write_report
from atari_vlm.runs.fallbacks import SEVERAL, FallbackWatch, cure
from atari_vlm.types import Decision, Source, Transition

STUDY = "--games Catch --agents gpt-4o --seeds 0 --max-steps 4".split()
TOY, MODEL = ["--game", "Catch"], ["--world-model", "catch"]
QUICK = ["--videos", "0", "--max-steps", "5"]


def asked(server, *words):
    return [*words, "--base-url", server.openai_url, "--vlm-option", "structured=none"]


def test_a_run_of_nothing_but_fallbacks_is_no_result(tmp_path, capsys):
    with FakeVendorServer(answer=lambda text, images: "I do not know") as server:
        words = asked(server, *QUICK, *TOY, "--vlm", "gpt-4o", "--save-dir", str(tmp_path))
        assert train.main([*words, "--num-episodes", "1", "--num-eval-episodes", "1"]) == 3
        said = capsys.readouterr()
        assert (
            "warning: 4 decisions in a row are not the model's" in said.err
            and "--reply-tokens" in said.err
        )
        assert "every decision fell back" in said.err and "100.0%" in said.out
        assert plan.main([*words, *MODEL, "--num-episodes", "1"]) == 3
        assert "every decision fell back" in capsys.readouterr().err
        study = asked(server, *STUDY, "--save-dir", str(tmp_path))
        assert evaluate.main(study) == 3
        assert "fallbacks (gpt-4o): every decision fell back" in capsys.readouterr().err


def test_what_answered_is_named_everywhere(tmp_path, capsys):
    with FakeVendorServer(answer=lambda text, images: "ACTION: NOOP") as server:
        named = ["--vlm", "gpt-4o", "--model", "asked-for"]
        words = asked(server, *QUICK, *TOY, *named, "--save-dir", str(tmp_path))
        assert (
            train.main(
                [*words, "--num-episodes", "1", "--num-eval-episodes", "0", "--run-name", "t"]
            )
            == 0
        )
        shown = capsys.readouterr().out
        planned = [*words, *MODEL, "--num-episodes", "1", "--run-name", "p", "--ablation"]
        assert plan.main(planned) in (0, 3)
        study = asked(server, *STUDY, "--model", "asked-for")
        assert evaluate.main([*study, "--save-dir", str(tmp_path), "--run-name", "e"]) == 0
        address = server.openai_url
    facts = json.loads((tmp_path / "t" / "results.json").read_text())["answered"]
    assert facts["model asked for"].startswith("openai/asked-for") and facts["address"] == address
    assert facts["prompt"].startswith("cot, version ") and "sha256 " in facts["prompt"]
    served = facts["model that answered"]
    assert served and served in shown and served in (tmp_path / "p" / "ablation.md").read_text()
    assert served in write_report(tmp_path / "t").read_text()
    conditions = json.loads((tmp_path / "e" / "results.json").read_text())["conditions"]
    assert (
        conditions["model that answered (gpt-4o)"] == served
        and conditions["address (gpt-4o)"] == address
    )
    assert (
        served in (tmp_path / "e" / "results.md").read_text() and "sha256" in conditions["prompt"]
    )


def transition(source, problems=()):
    return Transition({}, Decision(0, source, None, (), problems), 0.0, {}, False, False, {})


def test_the_warning_comes_once_and_only_in_a_row():
    watch = FallbackWatch()
    fell, decided = (
        transition(Source.FALLBACK, ("cut: the reply was cut off",)),
        transition(Source.MODEL),
    )
    assert [
        watch.see(t) for t in (fell, fell, decided, fell, fell, transition(Source.BUFFER), fell)
    ] == [None] * 7
    said = watch.see(fell)
    assert f"{SEVERAL} decisions in a row" in said and "raise --reply-tokens" in said
    assert [watch.see(fell) for _ in range(9)] == [None] * 9
    assert all(
        cure(f"{kind}: x") for kind in ("cut", "empty", "refused", "illegal", "missing", "other")
    )


def test_cut_episodes_have_no_human_normalised_score(tmp_path, capsys):
    words = [
        "--games",
        "Pong,breakout",
        "--seeds",
        "0",
        "1",
        "--max-steps",
        "5",
        "--save-dir",
        str(tmp_path),
    ]
    assert evaluate.main([*words, "--run-name", "cut"]) == 0
    shown = capsys.readouterr().out
    assert "Over" not in shown and "Cut episodes have no human-normalised score" in shown
    content = json.loads((tmp_path / "cut" / "results.json").read_text())
    assert content["over_games"] == [] and {run["human_normalised"] for run in content["runs"]} == {
        None
    }
    assert {game["normalised"] for game in content["games"]} == {None}
    assert {run["truncated"] for run in content["runs"]} == {1}


def test_whole_episodes_keep_theirs():
    whole = tuple(
        Run("Pong", agent, seed, (1.0,), 9, 0, 0.0) for agent in ("a", "b") for seed in (0, 1)
    )
    part = (*whole[:3], Run("Pong", "b", 1, (1.0, 2.0), 9, 0, 0.0, cut=1))
    assert [score.normalised is not None for score in game_scores(Results(whole))] == [True, True]
    assert [score.normalised is not None for score in game_scores(Results(part))] == [True, False]
    assert agent_scores(Results(whole)) and agent_scores(Results(part)) == []
    assert "Cut episodes" in to_markdown(Results(part)) and '"truncated": 1' in to_json(
        Results(part)
    )


@pytest.mark.parametrize(
    ("program", "words", "named"),
    [
        (train.main, ["--vlm", "scripted", "--model", "foo"], "--model"),
        (train.main, ["--vlm", "nearest-example", "--api-key", "k"], "--api-key"),
        (
            train.main,
            ["--vlm", "replay", "--base-url", "http://h/v1", "--model", "x"],
            "--base-url",
        ),
        (train.main, ["--icl-strategy", "best"], "--icl-strategy"),
        (train.main, ["--icl-ablation"], "--icl-ablation"),
        (train.main, ["--vlm", "gpt-5"], "--vlm gpt-4o --model gpt-5"),
        (train.main, ["--env-option", "frame_skp=3"], "frame_skp"),
        (train.main, ["--agent-option", "decide_evry=3"], "decide_every"),
        (train.main, ["--agent-option", "decide_every"], "NAME=VALUE"),
        (
            train.main,
            ["--vlm", "gpt-4o", "--api-key", "k", "--vlm-option", "structurd=none"],
            "structured",
        ),
        (train.main, ["--cache-mode", "read"], "--cache"),
        (plan.main, ["--vlm", "scripted", "--base-url", "http://h/v1"], "--base-url"),
        (evaluate.main, ["--agents", "claude-opus-9"], "claude,model=claude-opus-9"),
        (evaluate.main, ["--agents", "gpt-4o,claude", "--vlm-option", "a=1"], "--vlm-option"),
    ],
)
def test_what_would_be_ignored_is_refused_by_name(tmp_path, capsys, program, words, named):
    assert program([*words, "--save-dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and named in said
    assert not list(tmp_path.iterdir())


def test_options_by_name_reach_what_they_name(tmp_path):
    words = [
        "--agent-option",
        "decide_every=2",
        "--env-option",
        "frame_skip=8",
        "--env-option",
        "resize-shape=[84, 84]",
    ]
    assert (
        train.main(
            [
                *QUICK,
                *words,
                "--num-episodes",
                "1",
                "--num-eval-episodes",
                "0",
                "--save-dir",
                str(tmp_path),
            ]
        )
        == 0
    )
    results = json.loads(next(tmp_path.glob("*/results.json")).read_text())
    assert results["episode_lengths"] == [5]
    report = next(tmp_path.glob("*/report.html")).read_text()
    assert "84" in report


def test_a_limit_that_cannot_be_kept_is_refused(tmp_path, capsys):
    with FakeVendorServer(answer=lambda text, images: "ACTION: NOOP") as server:
        words = asked(
            server,
            *QUICK,
            "--vlm",
            "gpt-4o",
            "--save-dir",
            str(tmp_path),
            "--api-key",
            "a-key-of-mine",
        )
        assert train.main([*words, "--model", "unpriced", "--budget-usd", "1"]) == 2
        assert "price" in capsys.readouterr().err and server.requests == []


def test_a_spent_limit_is_raised_in_the_hint(tmp_path, capsys):
    with FakeVendorServer(answer=lambda text, images: "ACTION: NOOP") as server:
        study = asked(server, *STUDY, "--save-dir", str(tmp_path))
        assert evaluate.main([*study, "--max-calls", "2"]) == 75
        said = capsys.readouterr().err
        (run,) = tmp_path.iterdir()
        hint = f"--resume {run} --base-url {server.openai_url} --vlm-option structured=none --max-calls 4"
        assert f"not finished; continue with: python -m atari_vlm.evaluate {hint}" in said
        assert evaluate.main(hint.split()) == 0

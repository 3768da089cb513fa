"""Honest bundles of many sorts are accepted: whoever plays, whatever is played, however the answer was had."""

import json

import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.board.bundle import EPISODES, Refused
from atari_vlm.evaluation.board.judging import judge
from atari_vlm.evaluation.board.submitting import submit
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.proofs.board_forgeries import Forgery, forge

LANE = "own_games:Lane-v0"


def bundle_of(folder, **options):
    run, _ = evaluate(EvaluateConfig(**{"save_dir": folder, "run_name": "run", **options}))
    return submit(run, trusted=["own_games"])


def words(verdict, agent):
    return next(line for line in verdict.checked if line.startswith(f"{agent}: "))


def test_a_game_of_gymnasium_is_played_again(tmp_path):
    folder = bundle_of(tmp_path, games=["CartPole-v1"], seeds=[0, 3], episodes=2, parallel=2)
    verdict = judge(folder)
    assert verdict.rows[0]["agent"] == "random" and verdict.rows[0]["score"] > 5
    assert verdict.steps == sum(row["steps"] for row in verdict.rows)


def test_vlms_with_every_form_of_answer(tmp_path):
    agents = [
        "own_players:Steering",
        "eye=own_players:LightVLM,frames=1,decide_every=2,turns=2",
        "late=own_players:LightVLM,latency=measured,latency_s=0.4",
        "scores=scoring_eye:ScoringVLM,temperature=0.7",
        "reads=scoring_eye:ReadingVLM,text=reading,fallback=repeat",
        "odd=scoring_eye:OddVLM,max_reasks=1,fallback=random",
        "taught=own_players:LightVLM,use_icl=true,num_episodes=1,demonstrations=random",
    ]
    folder = bundle_of(tmp_path, games=[LANE], agents=agents, seeds=[1])
    verdict = judge(folder, ["own_games"])
    assert "taken as said" in words(verdict, "own_players:Steering")
    for agent in ("eye", "late", "scores", "reads", "odd"):
        assert "its questions are the harness's" in words(verdict, agent)
    assert "examples stood in them" in words(verdict, "taught")
    episodes = [json.loads(line) for line in (folder / EPISODES).read_text().splitlines()]
    odd = next(episode for episode in episodes if episode["agent"] == "odd")
    assert "f" in odd["sources"] and len(odd["replies"]) > odd["length"]

    def steers_elsewhere(it):
        """Text and action of one decision: what the model is asked next is then another question."""
        episode = next(e for e in it.episodes if e["agent"] == "eye")
        episode["replies"][2]["text"] = "ACTION: GO_LEFT"
        episode["actions"][4] = episode["actions"][5] = 1

    with pytest.raises(Refused, match=r"step \d+: (the reward|the question)"):
        judge(
            forge(folder, Forgery("", "", steers_elsewhere, ""), tmp_path / "forged"), ["own_games"]
        )


def test_planners_and_plans(tmp_path):
    agents = [
        "mcts@catch,num_simulations=4",
        "plans=scoring_eye:PlanningVLM,plan=true,plan_horizon=3,num_plans=2",
        "judged=plan@catch,vlm=scoring_eye:PlanningVLM,plan_horizon=3,num_plans=2",
    ]
    verdict = judge(bundle_of(tmp_path, games=["Catch"], agents=agents, seeds=[2], max_steps=6))
    assert "searches" in words(verdict, "mcts@catch")
    for agent in ("plans", "judged"):
        assert "its questions are the harness's" in words(verdict, agent)


def test_what_cannot_be_submitted_is_said(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="not a run folder"):
        submit(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("identity: x\nsettings: {program: train}\n")
    with pytest.raises(ConfigError, match="is no study"):
        submit(tmp_path / "run")
    folder = bundle_of(tmp_path, games=["CartPole-v1"], agents=["noop"], seeds=[0], run_name="keys")
    monkeypatch.setenv("SOME_API_KEY", "observations-of-CartPole-v1")
    config = folder.parent / "config.yaml"
    secret = "base_url: http://observations-of-CartPole-v1"
    config.write_text(config.read_text().replace("base_url: null", secret))
    with pytest.raises(ConfigError, match="key"):
        submit(folder.parent)

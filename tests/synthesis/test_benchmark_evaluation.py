"""Planning in programs, the normalised return, and what the paper published."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.experience import fill_replay_buffer
from atari_vlm.planning import CEMConfig, MCTSConfig
from atari_vlm.synthesis.benchmark import (
    Held,
    PlanningSettings,
    evaluate_program,
    find_env,
    normalised_return,
    planned_returns,
    saved_programs,
    write_evaluation,
)
from atari_vlm.synthesis.benchmark.planning import random_returns
from atari_vlm.synthesis.benchmark.published import (
    contradictions,
    published_rows,
    raw_returns,
    recomputed,
)
from atari_vlm.world_models.environment import EnvironmentWorldModel

PROGRAMS = Path(__file__).parents[1] / "data" / "programs"
QUICK = PlanningSettings(
    episodes=2,
    max_episode_steps=30,
    mcts=MCTSConfig(num_simulations=10, rollout_steps=15, depth=15, batch_size=5),
    cem=CEMConfig(horizon=15, population=30, elites=5, iterations=3, smoothing=0.0),
)


def text_of(name):
    return (PROGRAMS / f"{name}.py").read_text()


def test_r_of_the_published_returns():
    assert recomputed("Pendulum-v1", "GPT-4 Turbo") == pytest.approx(0.511, abs=0.0005)
    assert recomputed("Reacher-v4", "GPT-4 Turbo") == pytest.approx(0.881, abs=0.0005)
    assert recomputed("MountainCar-v0", "GPT-4 Turbo") is None
    assert recomputed("Humanoid-v4", "Llama 3 70B") is None
    returns = raw_returns("Pendulum-v1")
    ours = normalised_return(
        returns["GPT-4 Turbo"], returns["random policy"], returns["oracle planner"]
    )
    assert ours.value == pytest.approx(0.511, abs=0.0005)
    assert not ours.has_interval
    for row in published_rows():
        if row["source"].startswith("derived") and row["value"] not in ("N/A", ""):
            model = row["model"]
            assert recomputed(row["env"], model) == pytest.approx(float(row["value"]), abs=0.001)


def test_where_the_paper_contradicts_itself():
    found = {(each.env, each.table): each for each in contradictions()}
    assert {env for env, _ in found} == {"CartPole-v1", "Taxi-v3", "Blackjack-v1"}
    cart_pole = found["CartPole-v1", "Table 10"]
    assert (cart_pole.published, round(cart_pole.recomputed, 2)) == (1.11, 0.54)


def test_the_normalised_return_and_its_interval():
    rng = np.random.default_rng(0)
    model, random, oracle = (rng.normal(mean, 1.0, 30) for mean in (5.0, 0.0, 10.0))
    estimate = normalised_return(model, random, oracle)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.value == pytest.approx(0.5, abs=0.05)
    assert estimate.high - estimate.low < 0.2
    same = normalised_return(oracle, random, oracle)
    assert same.value == 1.0
    falling = normalised_return(-model, -random, -oracle)
    assert falling.value == pytest.approx(estimate.value)
    assert falling.low == pytest.approx(estimate.low)


def test_an_undefined_return_is_said_to_be():
    undefined = normalised_return([-200.0, -150.0], [-200.0, -200.0], [-200.0, -200.0])
    assert math.isnan(undefined.value)
    rng = np.random.default_rng(0)
    noisy = normalised_return(*(rng.normal(0.0, 1.0, 10) for _ in range(3)))
    assert not math.isnan(noisy.value)
    assert not noisy.has_interval


@pytest.mark.parametrize(
    ("name", "program"), [("CartPole-v1", "cart_pole"), ("Pendulum-v1", "pendulum")]
)
def test_planning_in_the_true_rules_is_planning_in_the_real_environment(name, program):
    longer = dataclasses.replace(QUICK, max_episode_steps=70)
    found = evaluate_program(text_of(program), find_env(name), longer, real_env=True)
    assert found.error is None
    assert found.played["model"].returns == pytest.approx(found.played["oracle"].returns)
    assert found.normalised.value == pytest.approx(1.0)
    assert found.played["model"].fallbacks == 0
    assert np.mean(found.played["model"].returns) > np.mean(found.played["random"].returns)


def test_plans_are_followed_to_their_end_or_made_anew():
    env = find_env("Pendulum-v1").make()
    searches = []

    model = EnvironmentWorldModel(env)
    init = model.init
    model.init = lambda *a, **k: searches.append(1) or init(*a, **k)
    once = PlanningSettings(episodes=1, max_episode_steps=20, cem=QUICK.cem)
    planned_returns(env, model, once)
    assert len(searches) == 2
    receding = PlanningSettings(episodes=1, max_episode_steps=6, open_loop=False, cem=QUICK.cem)
    planned_returns(env, model, receding)
    assert len(searches) == 2 + 6


def test_episodes_are_the_same_for_the_same_seed():
    env = find_env("rtfm").make()
    first, again = (planned_returns(env, EnvironmentWorldModel(env), QUICK) for _ in range(2))
    assert first == again
    assert random_returns(env, QUICK) == random_returns(env, QUICK)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ValueError('no')", "no"),
        ("x = 1", "Environment"),
        ("class Environment:\n    def set_state(self, s): pass\n", ""),
    ],
)
def test_a_program_that_cannot_be_planned_in_counts_as_nothing(tmp_path, text, words):
    buffer = fill_replay_buffer("CartPole-v1", 30, tmp_path, "b")
    found = evaluate_program(text, find_env("CartPole-v1"), QUICK, buffer=buffer, real_env=True)
    assert words in found.error
    assert "model" not in found.played
    assert found.normalised.value == 0.0
    assert found.scores["tolerant"].bug
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_program_that_raises_now_and_then_is_played_around():
    unpacked = "x, speed, angle, spin = self.state"
    text = text_of("cart_pole").replace(unpacked, f"{unpacked}; 1 / (angle > 0)")
    assert "1 / (angle" in text
    found = evaluate_program(
        text, find_env("CartPole-v1"), QUICK, held=Held(unsafe_local_code=True)
    )
    assert found.error is None
    assert found.played["model"].steps >= 2


def test_what_is_measured_is_written_beside_the_run(tmp_path):
    run = tmp_path / "CartPole-v1-gif-mcts-001"
    run.mkdir()
    (run / "best.py").write_text(text_of("cart_pole"))
    (run / "results.json").write_text('{"env": "CartPole-v1"}')
    (tmp_path / "other").mkdir()
    (one,), (same,) = saved_programs(run), saved_programs(tmp_path)
    assert one == same
    assert one.env.env_id == "CartPole-v1"
    buffer = fill_replay_buffer("CartPole-v1", 60, tmp_path, "b")
    held = Held(unsafe_local_code=True)
    found = evaluate_program(one.program, one.env, QUICK, buffer=buffer, held=held)
    written = json.loads(write_evaluation(run, found).read_text())
    assert written["normalised_return"] is None
    assert set(written["scores"]) == {"tolerant", "paper", "code"}
    assert written["scores"]["tolerant"]["score"] == 1.0
    assert written["ahead"]["5"]["state"] == 1.0
    assert written["returns"]["model"]["fallback_rate"] == 0.0
    assert written["env"]["paper_id"] == "CartPole-v1"


@pytest.mark.parametrize(
    "results", [None, "", "[]", '{"env": "Nowhere-v0"}', '{"env": null}', "{}"]
)
def test_folders_without_a_program_are_refused(tmp_path, results):
    if results is not None:
        (tmp_path / "best.py").write_text("x = 1")
        (tmp_path / "results.json").write_text(results)
    with pytest.raises(ConfigError) as refused:
        saved_programs(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"max_episode_steps": 0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ConfigError):
        PlanningSettings(**wrong)

"""The buffers that the source repository ships, where a checkout of it is at hand.

Run with ``CODE_WORLD_MODELS=<checkout> pytest -m slow tests/experience/test_transitions_source.py``.
"""

import os
from pathlib import Path

import pytest

from atari_vlm.experience import read_buffer
from atari_vlm.synthesis.benchmark.published import published_rows
from atari_vlm.world_models.code import score_program

CHECKOUT = os.environ.get("CODE_WORLD_MODELS")
BUFFERS = Path(CHECKOUT or "") / "data" / "replay_buffers"
PROGRAMS = Path(__file__).parents[1] / "data" / "programs"
COUNTS = [row for row in published_rows() if row["metric"] == "n_transitions"]
TRUE = {
    "CliffWalking-v0": "cliff_walking",
    "Taxi-v3": "taxi",
    "CartPole-v1": "cart_pole",
    "MountainCar-v0": "mountain_car",
    "Acrobot-v1": "acrobot",
    "Pendulum-v1": "pendulum",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHECKOUT is None, reason="CODE_WORLD_MODELS names no checkout"),
]


def buffer_of(env):
    where = "rtfm/simple_stationary" if env == "rtfm" else f"gymnasium_envs/{env}"
    return read_buffer(BUFFERS / where / "train_buffer.pkl")


def counted(env, metric):
    (row,) = (r for r in published_rows() if (r["env"], r["metric"]) == (env, metric))
    return int(row["value"])


@pytest.mark.parametrize("env", [row["env"] for row in COUNTS])
def test_a_buffer_of_the_source_has_the_counts_that_were_counted_in_it(env):
    buffer = buffer_of(env)
    assert len(buffer) == counted(env, "n_transitions")
    assert len(buffer.trajectory_starts) == counted(env, "n_trajectories")
    if env != "rtfm":
        assert buffer.truncated.sum() == counted(env, "truncations_labelled_done")
        assert buffer.env_id == env


def test_there_are_seventeen():
    assert len(COUNTS) == 17


@pytest.mark.parametrize("env", TRUE)
def test_true_dynamics_are_all_right_on_the_transitions_of_the_source(env):
    text, buffer = (PROGRAMS / f"{TRUE[env]}.py").read_text(), buffer_of(env)
    assert score_program(text, buffer).score == 1.0
    if env == "Pendulum-v1":
        assert score_program(text, buffer, scorer="code").score == pytest.approx(2 / 3, abs=0.001)
        assert score_program(text, buffer, scorer="paper").score == pytest.approx(2 / 3, abs=0.001)

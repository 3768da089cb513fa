"""Programs followed some steps ahead."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from atari_vlm.errors import ConfigError
from atari_vlm.experience import TransitionBuffer
from atari_vlm.world_models.code.fidelity import fidelity
from atari_vlm.world_models.code.sandbox_local import LocalProgram


def counting(trajectories=4, length=10):
    """Trajectories that count 0, 1, 2 ...; the reward is the number that is left."""
    steps = np.tile(np.arange(length), trajectories)
    return TransitionBuffer(
        steps[:, None].astype(np.float64),
        np.zeros(len(steps), int),
        steps.astype(float),
        steps[:, None] + 1.0,
        np.zeros(len(steps), bool),
        np.zeros(len(steps), bool),
        env_id="Count-v0",
        observation_space=Box(0, 100, (1,), np.float64),
        action_space=Discrete(1),
        trajectory_starts=np.arange(trajectories) * length,
    )


def program(state="x + 1", reward="x"):
    text = f"""
class Environment:
    def set_state(self, state):
        self.state = state
    def step(self, action):
        x = float(self.state[0])
        return [{state}], {reward}, False
"""
    return LocalProgram(text)


def test_the_true_rules_stay_true():
    scores = fidelity(program(), counting(), ahead=(1, 5, 10, 11))
    assert {steps: score.count for steps, score in scores.items()} == {1: 40, 5: 24, 10: 4}
    assert all(score.state == score.rewards == 1.0 for score in scores.values())


def test_a_small_error_grows():
    drifting = fidelity(program(state="x + 1 + 4e-6 * (x < 3)"), counting(), ahead=(1, 4, 10))
    assert drifting[1].state == 1.0
    assert drifting[10].state == 1.0  # 1.2e-5 on 10 is still within the tolerance
    steep = fidelity(
        program(state="1.1 * (x + 1) / 1.1 if x != 6 else 8"), counting(), ahead=(1, 3)
    )
    assert steep[1].state == pytest.approx(0.9)
    assert steep[3].state == pytest.approx(20 / 32)


def test_rewards_are_right_when_all_of_them_were():
    scores = fidelity(program(reward="x if x != 4 else 0"), counting(), ahead=(1, 5))
    assert scores[1].rewards == pytest.approx(0.9)
    assert scores[5].rewards == pytest.approx(1 / 6)
    assert scores[5].state == 1.0


def test_a_row_that_raises_is_wrong_from_there_on():
    scores = fidelity(program(reward="x if x != 4 else [][0]"), counting(), ahead=(1, 5))
    assert scores[1].rewards == pytest.approx(0.9)
    assert scores[5].rewards == pytest.approx(1 / 6)
    assert scores[5].state == pytest.approx(1 / 6)


def test_some_beginnings_stand_for_all():
    scores = fidelity(program(), counting(40), ahead=(1,), most=30, seed=1)
    assert scores[1].count == 30


@pytest.mark.parametrize("ahead", [(), (0,), (1.5,)])
def test_numbers_of_steps_are_checked(ahead):
    with pytest.raises(ConfigError):
        fidelity(program(), counting(), ahead=ahead)

"""Many rows and whole plans in one crossing: they are steps, a row that fails is named, the caller's arrays stay."""

import numpy as np
import pytest
from sandbox_programs import ADDER, BATCH, WALK

from atari_vlm.errors import MismatchError, SandboxProgramError


@pytest.mark.parametrize("states", [np.arange(6.0).reshape(3, 2), np.arange(3), np.arange(3.0)])
def test_rows_are_steps(home, states):
    actions = np.array([1, 20, 30])
    with home(ADDER) as program:
        rows = program.step_rows(states, actions)
        steps = [program.step(state, action) for state, action in zip(states, actions, strict=True)]
    assert isinstance(rows.states, np.ndarray) and rows.states.shape == states.shape
    np.testing.assert_array_equal(rows.states, [step[0] for step in steps])
    assert rows.rewards.tolist() == [step[1] for step in steps]
    assert rows.dones.tolist() == [step[2] for step in steps] and rows.errors == {}


def test_a_list_of_states_comes_back_as_one(home):
    with home(WALK) as program:
        states = [program.call("reset", [[0]], [])] * 2
        rows = program.step_rows(states, [1, 7])
        assert rows.states == [{"at": [1], "path": [1, [2, 3]]}, {"at": [7], "path": [1, [2, 3]]}]
        assert rows.dones.tolist() == [False, True]
        rolled = program.rollout(states, [[1, 2], [3, 4]])
        assert [state["at"] for state in rolled.states] == [[3], [7]]
        assert rolled.rewards.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("text", [ADDER, BATCH], ids=["rows", "batch"])
def test_a_rollout_is_stepping_until_a_row_is_done(home, text):
    states, plans = np.arange(12.0).reshape(6, 2), np.arange(30).reshape(6, 5) % 7
    over = np.zeros(6, bool)
    with home(text) as program:
        rolled = program.rollout(states, plans)
        for t in range(5):
            rows = program.step_rows(states, plans[:, t])
            np.testing.assert_array_equal(rolled.rewards[:, t], np.where(over, 0, rows.rewards))
            states = np.where(over[:, None], states, rows.states)
            over |= rows.dones
            np.testing.assert_array_equal(rolled.dones[:, t], over)
    assert over.any()
    np.testing.assert_array_equal(rolled.states, states)


def test_contract_2_may_be_a_class(home):
    text = """
class Environment:
    def reset(self, observations, actions): return [len(observations), len(actions)]
    def step(self, state, action): return [state[0] + action, state[1]], 1.0, False
    def observe(self, state): return state
"""
    with home(text) as program:
        assert program.contract == 2
        assert program.call("reset", [1, 2], [3]) == [2, 1]
        assert program.step([2, 1], 5) == ([7, 1], 1.0, False)


@pytest.mark.parametrize("wrong", ["[1.0]", "[1.0, 'x']", "[[1.0, 2.0]]", "None"])
def test_a_row_whose_state_has_another_shape_is_its_own_fault(home, wrong):
    text = f"""
class Environment:
    def set_state(self, state): self.state = state
    def step(self, action): return {wrong} if action else self.state, 1.0, bool(action)
"""
    with home(text) as program:
        rolled = program.rollout(np.zeros((3, 2)), np.array([[0, 0], [0, 1], [1, 0]]))
    assert sorted(rolled.errors) == [1, 2] and "numbers of the shape (2,)" in str(rolled.errors[1])
    assert rolled.rewards.tolist() == [[1, 1], [1, -np.inf], [-np.inf, -np.inf]]
    assert rolled.dones.tolist() == [[False, False], [False, True], [True, True]]


def test_a_batch_that_raises_is_stepped_row_by_row(home):
    states = np.arange(26.0).reshape(13, 2)
    with home(BATCH) as program:
        rows = program.step_rows(states, np.arange(13))
        np.testing.assert_array_equal(rows.states, states + np.arange(13)[:, None])
        assert program.rollout(states, np.zeros((13, 3), int)).errors == {}


def test_a_row_that_raises_is_named_and_the_others_go_on(home):
    with home(ADDER) as program:
        rolled = program.rollout(np.array([[0.0, 0.0], [99.0, -99.0]]), np.ones((2, 3), int))
    assert rolled.rewards.tolist() == [[2, 4, 6], [2, 4, -np.inf]]
    assert rolled.dones.tolist() == [[False] * 3, [False, False, True]]
    assert rolled.states.tolist() == [[3, 3], [101, -97]]
    assert isinstance(rolled.errors[1], SandboxProgramError) and list(rolled.errors) == [1]
    assert "ValueError: too far (line 10:" in str(rolled.errors[1])
    assert rolled.errors[1].line == 10


def test_many_rows_cross_in_parts_without_a_difference(adder):
    states, plans = np.zeros((3000, 2)), np.ones((3000, 40), int)
    plans[2999] = plans[:, 20:] = 0
    rolled = adder.rollout(states, plans)
    assert rolled.rewards.shape == (3000, 40) and rolled.states[[0, -1]].tolist() == [
        [20, 20],
        [0, 0],
    ]


def test_states_and_actions_are_as_many(home):
    with home(ADDER) as program, pytest.raises(MismatchError):
        program.step_rows(np.zeros((3, 2)), np.zeros(2, int))


def test_the_caller_s_arrays_are_never_changed(home):
    text = ADDER.replace("self.state = self.state + action", "self.state += action")
    states = np.zeros((2, 2))
    with home(text) as program:
        program.step_rows(states, [1, 2])
        program.rollout(states, [[1], [2]])
        program.step(states[0], 1)
        program.call("set_state", states[0])
        program.call("step", 4)
    assert not states.any()


@pytest.mark.parametrize("text", [ADDER, BATCH], ids=["rows", "batch"])
def test_no_rows_and_no_steps_are_fine(home, text):
    with home(text) as program:
        rows = program.step_rows(np.zeros((0, 2)), np.zeros(0, int))
        assert (rows.states.shape, rows.rewards.shape, rows.errors) == ((0, 2), (0,), {})
        rolled = program.rollout(np.ones((3, 2)), np.zeros((3, 0), int))
        assert rolled.states.tolist() == [[1, 1]] * 3 and rolled.rewards.shape == (3, 0)
        assert program.rollout([], np.zeros((0, 4), int)).states == []

"""``check_program``: each fault has its word, a fine program has none."""

import numpy as np
import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.code import check_program

CLASS = """
import numpy as np, random, itertools
class Environment:
    def __init__(self):
        self.n, self.speed, self.rng = 0, 0.0, np.random.default_rng()
    def set_state(self, state):
        self.state = state
    def step(self, action):
        {}
"""
FUNCTIONS = """
import numpy as np
def reset(observations, actions): return list(observations[-1])
def observe(state): return state
def step(state, action):
    {}
"""
STATES, ACTIONS = [np.array([1.0, 2.0]), np.array([0.0, 3.0])], [1, 2, 3]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return np.asarray(self.state) + action, 1.0, False", ()),
        ("self.state = self.state + action; return self.state, 1.0, bool(action > 2)", ()),
        ("s = [float(x) for x in self.state]; s[0] += action; return s, 1, False", ()),
        ("random.random(); return self.state + 1, 0.0, False", ()),
        ("return 1 / 0", ("raises",)),
        ("return self.state, 1.0 if action < 3 else None, False", ("raises",)),
        ("return self.state", ("raises",)),
        ("return self.state, 1.0, 'no'", ("raises",)),
        ("while True: pass", ("raises",)),
        ("exit()", ("raises",)),
        ("open('/etc/passwd')", ("raises",)),
        ("return self.state, random.random(), False", ("random",)),
        ("return self.state + np.random.rand(2), 1.0, False", ("random",)),
        ("return self.state, np.random.default_rng().random(), False", ("random",)),
        ("return self.state, self.rng.random(), False", ("stateful",)),
        ("self.n += 1; return self.state, float(self.n), False", ("stateful",)),
        ("self.speed += action; return self.state + self.speed, 1.0, False", ("stateful",)),
        ("self.state[0] += action; return self.state, 1.0, False", ("mutates",)),
        ("return object(), 1.0, False", ("round-trip",)),
        ("return {1: 2}, 1.0, False", ("round-trip",)),
    ],
)
def test_a_class(body, words):
    found = check_program(CLASS.format(body), states=STATES, actions=ACTIONS, deadline_s=0.5)
    assert found == words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return [x + action for x in state], 0.0, False", ()),
        ("return {'x': state}, 0.0, True", ()),
        ("return np.array(state) + action, 0.0, False", ()),
        (
            "return (*state, 1) if type(state) is tuple else tuple(state), 0.0, False",
            ("round-trip",),
        ),
        ("state[0] = 9; return state, 0.0, False", ("mutates",)),
    ],
)
def test_functions(body, words):
    assert check_program(FUNCTIONS.format(body), states=[[1.0, 2.0]], actions=[0, 1]) == words


def test_a_set_state_that_keeps_half():
    text = CLASS.format(
        "self.speed += 0.5; self.state = self.state + self.speed; return self.state, 1.0, False"
    )
    assert check_program(
        text.replace("self.state = state", "self.state, self.speed = state, 0.0"),
        states=STATES,
        actions=[0],
    ) == ("round-trip",)


@pytest.mark.parametrize(
    ("what", "words"),
    [("states + actions[:, None]", ()), ("states + actions.sum()", ("stateful",))],
)
def test_a_batch_is_its_rows(what, words):
    text = FUNCTIONS.format("return state + action, 0.0, False")
    text += f"def step_batch(states, actions): return {what}, np.zeros(len(states)), np.zeros(len(states), bool)"
    assert check_program(text, states=STATES, actions=ACTIONS) == words


@pytest.mark.parametrize("text", ["x =", "import os", "x = 1", "while True: pass"])
def test_what_does_not_load_raises(text):
    assert check_program(text, states=STATES, actions=ACTIONS, deadline_s=0.3) == ("raises",)


def test_discrete_states():
    text = CLASS.format("return (self.state + action) % 7, 0.0, self.state == 3")
    assert check_program(text, states=np.arange(7), actions=[0, 1]) == ()


@pytest.mark.parametrize("given", [{"states": [], "actions": [1]}, {"states": [1], "actions": []}])
def test_nothing_to_try_is_refused(given):
    with pytest.raises(ConfigError, match="at least one"):
        check_program("x = 1", **given)

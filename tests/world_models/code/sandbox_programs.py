"""Programs that the tests of the sandbox share."""

ADDER = """
import numpy as np
import random

class Environment:
    def set_state(self, state):
        self.state = state
    def step(self, action):
        if np.any(np.asarray(self.state) > 100):
            raise ValueError("too far")
        self.state = self.state + action
        return self.state, float(np.sum(self.state)), bool(np.sum(self.state) > 50)
    def echo(self, value):
        return value
    def kind(self, value):
        return type(value).__name__
    def draws(self):
        return [random.random(), np.random.rand(), np.random.default_rng().random(), random.Random().random()]
    def count(self):
        self.n = getattr(self, "n", 0) + 1
        return self.n
    def forever(self):
        while True:
            pass
    def imports(self):
        import gymnasium
    def fails(self):
        raise ValueError("\\x1b[31mred\\x1b[0m\\u202e \\n" + "x" * 10000)
    def reads(self):
        return open("/etc/passwd").read()
    def dies(self):
        random._os._exit(3)
    def long(self):
        return "x" * (1 << 20)
"""
WALK = """
def reset(observations, actions):
    return {"at": list(observations[-1]), "path": [1, (2, 3)]}
def step(state, action):
    return {"at": [x + action for x in state["at"]], "path": state["path"]}, action, action > 5
def observe(state):
    return state["at"]
"""
BATCH = (
    WALK
    + """
import numpy as np
def step(state, action):
    return state + action, float(state[0]), bool(state[0] > 3)
def step_batch(states, actions):
    if len(states) == 13:
        raise ValueError("not thirteen")
    return states + actions[:, None], states[:, 0], states[:, 0] > 3
"""
)

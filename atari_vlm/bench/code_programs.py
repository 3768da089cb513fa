"""Programs of two known games, as a writer would hand them in: what the benchmark and the proof of planning run."""

CART_POLE = '''
from math import cos, sin


class Environment:
    """A pole on a cart: push left (0) or right (1)."""

    def set_state(self, state):
        self.state = state.tolist()

    def step(self, action):
        position, speed, angle, turning = self.state
        cosine, sine = cos(angle), sin(angle)
        push = ((10.0 if action == 1 else -10.0) + 0.05 * turning * turning * sine) / 1.1
        twist = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine * cosine / 1.1))
        position, speed = position + 0.02 * speed, speed + 0.02 * (push - 0.05 * twist * cosine / 1.1)
        angle, turning = angle + 0.02 * turning, turning + 0.02 * twist
        self.state = [position, speed, angle, turning]
        fell = not (-2.4 <= position <= 2.4 and -0.20943951023931953 <= angle <= 0.20943951023931953)
        return self.state, 1.0, fell
'''

CART_POLE_BATCH = (
    CART_POLE
    + """
    def step_batch(self, states, actions):
        position, speed, angle, turning = states.T
        cosine, sine = np.cos(angle), np.sin(angle)
        push = (20.0 * actions - 10.0 + 0.05 * turning * turning * sine) / 1.1
        twist = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine * cosine / 1.1))
        after = np.empty(states.shape)
        after[:, 0] = position + 0.02 * speed
        after[:, 1] = speed + 0.02 * (push - 0.05 * twist * cosine / 1.1)
        after[:, 2] = angle + 0.02 * turning
        after[:, 3] = turning + 0.02 * twist
        fell = (np.abs(after[:, 0]) > 2.4) | (np.abs(after[:, 2]) > 0.20943951023931953)
        return after, np.ones(len(states)), fell
"""
).replace("from math import cos, sin", "from math import cos, sin\n\nimport numpy as np")

PENDULUM = '''
import numpy as np


class Environment:
    """A pendulum to be swung up; the state is its cosine, sine and speed, the action a torque."""

    def set_state(self, state):
        self.state = np.asarray(state, float)

    def step(self, action):
        states, rewards, dones = self.step_batch(self.state[None], np.asarray(action)[None])
        self.state = states[0]
        return self.state, float(rewards[0]), False

    def step_batch(self, states, actions):
        angle, speed = np.arctan2(states[:, 1], states[:, 0]), states[:, 2]
        torque = np.clip(actions[:, 0], -2.0, 2.0)
        rewards = -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2)
        speed = np.clip(speed + (15.0 * np.sin(angle) + 3.0 * torque) * 0.05, -8.0, 8.0)
        angle = angle + speed * 0.05
        return np.stack([np.cos(angle), np.sin(angle), speed], 1), rewards, np.zeros(len(states), bool)
'''

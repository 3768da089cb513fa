"""Pendulum-v1: the state is cosine and sine of the angle (0 is upright) and the angular speed."""

import math

GRAVITY, STEP, FASTEST, STRONGEST = 10.0, 0.05, 8.0, 2.0


class Environment:
    def __init__(self):
        self.state = [1.0, 0.0, 0.0]

    def set_state(self, state):
        self.state = [float(value) for value in state]

    def step(self, action):
        cosine, sine, speed = self.state
        angle = math.atan2(sine, cosine)
        torque = min(max(float(action[0]), -STRONGEST), STRONGEST)
        cost = angle**2 + 0.1 * speed**2 + 0.001 * torque**2
        speed += (1.5 * GRAVITY * math.sin(angle) + 3.0 * torque) * STEP
        speed = min(max(speed, -FASTEST), FASTEST)
        angle += speed * STEP
        self.state = [math.cos(angle), math.sin(angle), speed]
        return list(self.state), -cost, False

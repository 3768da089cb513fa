"""CartPole-v1: cart position and speed, pole angle and angular speed; explicit Euler steps of 0.02 s."""

import math

GRAVITY, CART, POLE, HALF_LENGTH, FORCE, STEP = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
FARTHEST, STEEPEST = 2.4, 12 * 2 * math.pi / 360


class Environment:
    def __init__(self):
        self.state = [0.0, 0.0, 0.0, 0.0]

    def set_state(self, state):
        self.state = [float(value) for value in state]

    def step(self, action):
        x, speed, angle, spin = self.state
        force = FORCE if action == 1 else -FORCE
        sine, cosine = math.sin(angle), math.cos(angle)
        total = CART + POLE
        pushed = (force + POLE * HALF_LENGTH * spin**2 * sine) / total
        turned = (GRAVITY * sine - cosine * pushed) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE * cosine**2 / total)
        )
        moved = pushed - POLE * HALF_LENGTH * turned * cosine / total
        self.state = [
            x + STEP * speed,
            speed + STEP * moved,
            angle + STEP * spin,
            spin + STEP * turned,
        ]
        done = abs(self.state[0]) > FARTHEST or abs(self.state[2]) > STEEPEST
        return list(self.state), 1.0, done

"""MountainCar-v0: position and speed of a car in a valley whose height is sin(3 x)."""

import math

LEFT, RIGHT, GOAL, FASTEST, PUSH, PULL = -1.2, 0.6, 0.5, 0.07, 0.001, 0.0025


class Environment:
    def __init__(self):
        self.state = [-0.5, 0.0]

    def set_state(self, state):
        self.state = [float(value) for value in state]

    def step(self, action):
        position, speed = self.state
        speed += (int(action) - 1) * PUSH - math.cos(3 * position) * PULL
        speed = min(max(speed, -FASTEST), FASTEST)
        position = min(max(position + speed, LEFT), RIGHT)
        if position == LEFT and speed < 0:
            speed = 0.0
        self.state = [position, speed]
        return list(self.state), -1.0, position >= GOAL and speed >= 0

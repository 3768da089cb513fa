"""Acrobot-v1: two links of length and mass 1; the state is cosine and sine of both angles, and both angular speeds.

One step is one Runge-Kutta step of 0.2 s of the equations of motion in Sutton and Barto's book.
"""

import math

STEP, GRAVITY, CENTRE, INERTIA = 0.2, 9.8, 0.5, 1.0
FASTEST = (4 * math.pi, 9 * math.pi)


def motion(state, torque):
    first, second, speed1, speed2 = state
    d1 = CENTRE**2 + (1 + CENTRE**2 + 2 * CENTRE * math.cos(second)) + 2 * INERTIA
    d2 = CENTRE**2 + CENTRE * math.cos(second) + INERTIA
    phi2 = CENTRE * GRAVITY * math.cos(first + second - math.pi / 2)
    phi1 = (
        -CENTRE * speed2**2 * math.sin(second)
        - 2 * CENTRE * speed2 * speed1 * math.sin(second)
        + (CENTRE + 1) * GRAVITY * math.cos(first - math.pi / 2)
        + phi2
    )
    turned2 = (torque + d2 / d1 * phi1 - CENTRE * speed1**2 * math.sin(second) - phi2) / (
        CENTRE**2 + INERTIA - d2**2 / d1
    )
    return speed1, speed2, -(d2 * turned2 + phi1) / d1, turned2


def moved(state, slope, time):
    return [value + time * change for value, change in zip(state, slope, strict=True)]


class Environment:
    def __init__(self):
        self.state = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]

    def set_state(self, state):
        self.state = [float(value) for value in state]

    def step(self, action):
        c1, s1, c2, s2, speed1, speed2 = self.state
        start = [math.atan2(s1, c1), math.atan2(s2, c2), speed1, speed2]
        torque = float(int(action) - 1)
        k1 = motion(start, torque)
        k2 = motion(moved(start, k1, STEP / 2), torque)
        k3 = motion(moved(start, k2, STEP / 2), torque)
        k4 = motion(moved(start, k3, STEP), torque)
        slope = [(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
        first, second, speed1, speed2 = moved(start, slope, STEP)
        speed1 = min(max(speed1, -FASTEST[0]), FASTEST[0])
        speed2 = min(max(speed2, -FASTEST[1]), FASTEST[1])
        self.state = [
            *(math.cos(first), math.sin(first)),
            *(math.cos(second), math.sin(second)),
            *(speed1, speed2),
        ]
        done = -math.cos(first) - math.cos(first + second) > 1.0
        return list(self.state), 0.0 if done else -1.0, done

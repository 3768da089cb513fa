"""Programs that were written beforehand, with known faults: the offline writer of code world models.

It reads what a language model reads. A question that holds one of its own programs, word for word, gets the next better one; a
question for a first program gets an early one, and repeated draws of it later ones. Each environment has its exact program and
three faults: the first version raises, the second and the third predict wrongly, the fourth is right.
"""

from __future__ import annotations

from dataclasses import dataclass

_CART_POLE = '''\
import math


class Environment:
    """A pole on a cart that is pushed left or right (explicit Euler, 0.02 s a step)."""

    def __init__(self):
        self.state = [0.0, 0.0, 0.0, 0.0]

    def set_state(self, state):
        self.state = [float(value) for value in state]

    def step(self, action):
        x, x_dot, theta, theta_dot = self.state
        force = 10.0 if int(action) == 1 else -10.0
        cos, sin = math.cos(theta), math.sin(theta)
        push = (force + 0.05 * theta_dot**2 * sin) / 1.1
        theta_acc = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * cos**2 / 1.1))
        x_acc = push - 0.05 * theta_acc * cos / 1.1
        x, x_dot = x + 0.02 * x_dot, x_dot + 0.02 * x_acc
        theta, theta_dot = theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc
        self.state = [x, x_dot, theta, theta_dot]
        done = abs(x) > 2.4 or abs(theta) > 12 * 2 * math.pi / 360
        return self.state, 1.0, done
'''

_CLIFF_WALKING = '''\
MOVES = {0: (-1, 0), 1: (0, 1), 2: (1, 0), 3: (0, -1)}


class Environment:
    """A grid of 4 rows and 12 columns; the cliff is the last row between start (36) and goal (47)."""

    def __init__(self):
        self.state = 36

    def set_state(self, state):
        self.state = int(state)

    def step(self, action):
        row, column = divmod(self.state, 12)
        down, right = MOVES[int(action)]
        row, column = min(max(row + down, 0), 3), min(max(column + right, 0), 11)
        if row == 3 and 1 <= column <= 10:
            self.state = 36
            return self.state, -100.0, False
        self.state = 12 * row + column
        return self.state, -1.0, self.state == 47
'''

_MOUNTAIN_CAR = '''\
import math


class Environment:
    """A car in a valley, whose engine is too weak to climb the hill at once."""

    def __init__(self):
        self.state = [-0.5, 0.0]

    def set_state(self, state):
        self.state = [float(value) for value in state]

    def step(self, action):
        position, velocity = self.state
        velocity += 0.001 * (int(action) - 1) - 0.0025 * math.cos(3 * position)
        velocity = min(max(velocity, -0.07), 0.07)
        position = min(max(position + velocity, -1.2), 0.6)
        if position == -1.2 and velocity < 0:
            velocity = 0.0
        self.state = [position, velocity]
        return self.state, -1.0, position >= 0.5 and velocity >= 0
'''


@dataclass(frozen=True)
class Lesson:
    """The exact program of an environment, and its faults as ``(right, wrong)`` texts in the order in which they are mended."""

    exact: str
    faults: tuple[tuple[str, str], ...]

    @property
    def versions(self) -> tuple[str, ...]:
        """All faults first, none at the end."""
        return tuple(self._with(self.faults[mended:]) for mended in range(len(self.faults) + 1))

    def _with(self, faults: tuple[tuple[str, str], ...]) -> str:
        program = self.exact
        for right, wrong in faults:
            program = program.replace(right, wrong)
        return program


LESSONS = {
    "CartPole": Lesson(
        _CART_POLE,
        (
            ("import math\n\n\n", ""),
            ("x + 0.02 * x_dot", "x + 0.2 * x_dot"),
            ("self.state, 1.0, done", "self.state, 0.0 if done else 1.0, done"),
        ),
    ),
    "CliffWalking": Lesson(
        _CLIFF_WALKING,
        (
            ("MOVES[int(action)]", "MOVES[int(action) + 1]"),
            ("-100.0, False", "-100.0, True"),
            ("            self.state = 36\n", "            self.state = 12 * row + column\n"),
        ),
    ),
    "MountainCar": Lesson(
        _MOUNTAIN_CAR,
        (
            ("import math\n\n\n", ""),
            ("math.cos(3 * position)", "math.sin(3 * position)"),
            ("self.state, -1.0,", "self.state, -abs(velocity),"),
        ),
    ),
}


def asks_for_program(question: str) -> bool:
    """Whether a text asks for a program of the contract of code world models."""
    return "class Environment" in question


def write_program(question: str, sample: int) -> str:
    """The reply: some words, and the program in a fenced block; words alone for an environment that nobody wrote down.

    ``sample`` is the draw's number.
    """
    lesson = next((LESSONS[name] for name in LESSONS if name in question), None)
    if lesson is None:
        return f"I know the programs of {', '.join(LESSONS)} only, and this is another environment."
    versions = lesson.versions
    shown = max(
        (n for n, program in enumerate(versions) if program.strip() in question), default=None
    )
    chosen = sample if shown is None else shown + 1
    program = versions[min(chosen, len(versions) - 1)]
    said = "A first attempt" if shown is None else "One fault of the program is mended"
    return f"{said}, as somebody wrote it down beforehand.\n\n```python\n{program}```\n"

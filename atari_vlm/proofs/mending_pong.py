"""A writer that stands for a language model where Pong's program is to be mended: it goes through a list of edits.

It sees what a language model sees, the question, and remembers nothing: of its list it takes the first edit behind the one of the
program it is shown that explains the step it is shown. Which of the edits is right, the search finds out by its counterexamples.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from atari_vlm.proofs.changing_pong import program_by_hand
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import NoScores, Sampling
from atari_vlm.world_models.code.sandbox_local import LocalProgram

Edit = tuple[str, str]  # a line's beginning or part, and what stands there instead
_ROWS = (16, 8, 4)
_ANGLES = ((4, 2), (4, 1), (2, 2), (2, 1), (1, 2), (1, 1))  # rows an angle, angles upwards
_SHIPPED = "16, 4, 2"
_STEP = re.compile(
    r"State before the step: (\[.*\])\nAction: (\d)\n\nWhat really happened:\n- state: (\[.*\])\n- reward: (\S+)\n- done: (\w+)"
)


def _paddle(name: str) -> list[Edit]:
    """Other heights and other angles of a paddle."""
    shapes = (f"{rows}, {part}, {up}" for rows, (part, up) in product(_ROWS, _ANGLES))
    return [(f"{name} = {_SHIPPED}", f"{name} = {shape}") for shape in shapes if shape != _SHIPPED]


_YOURS, _OTHERS = _paddle("YOUR_PADDLE"), _paddle("OTHER_PADDLE")
_ELSE: list[Edit] = [
    ("[0, 0, -1, 1, -1, 1]", "[0, 0, 1, -1, 1, -1]"),  # directions mirrored
    ("TURN, UPPERMOST, LOWERMOST = 5.757", "TURN, UPPERMOST, LOWERMOST = 2.8785"),  # a slower knob
    ("+= 2 * np.sign(game[Y]", "+= 1 * np.sign(game[Y]"),  # a slower opponent
    ("+= 2 * np.sign(game[Y]", "+= 4 * np.sign(game[Y]"),
]
EDITS: list[tuple[Edit, ...]] = [
    (),
    *((edit,) for edit in (*_YOURS, *_OTHERS, *_ELSE)),
    *product(_YOURS, _OTHERS),
]
"""Nothing, each edit alone, then a paddle's together with the other's."""


@cache
def edited(number: int) -> str:
    """The program written by hand with an entry of :data:`EDITS`."""
    text = program_by_hand()
    for old, new in EDITS[number]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@cache
def _run(number: int) -> LocalProgram:
    """In this process, since the text is ours."""
    return LocalProgram(edited(number))


class PongWriter(NoScores):
    """Writes the next program of the list that explains the step it is shown; nothing where there is none."""

    name, capabilities = "pong-writer", frozenset[Any]()

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """A program in a block."""
        question = messages[-1].text
        step = _STEP.search(question)
        shown = next((i for i in range(len(EDITS)) if edited(i).strip() in question), -1)
        fitting = (i for i in range(shown + 1, len(EDITS)) if step is None or _explains(i, step))
        number = next(fitting, None)
        if number is None:
            return Reply("None of my edits explains this step.", self.name, cost_usd=0.0)
        return Reply(f"It may be this.\n```python\n{edited(number)}```\n", self.name, cost_usd=0.0)


def _explains(number: int, step: re.Match[str]) -> bool:
    """Whether a program makes the step as it really was."""
    state, action, after, reward, done = (ast.literal_eval(part) for part in step.groups())
    made = _run(number).step(np.array(state), action)
    return np.allclose(made[0], after, rtol=0, atol=1e-3) and made[1:] == (reward, done)

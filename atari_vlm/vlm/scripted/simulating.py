"""The offline simulator: asked what a step does to a state, it says that nothing changes, 1 is earned, and it goes on."""

from __future__ import annotations

import re

_STATE = re.compile(r"^State: (.+)$", re.MULTILINE)
_ASKED = "Work out the state after this one step"


def asks_for_step(question: str) -> bool:
    """Whether a text asks for one step of an environment."""
    return _ASKED in question


def simulate_step(question: str) -> str:
    """The reply: the state of the question as it was given."""
    found = _STATE.search(question)
    state = found[1] if found else "null"
    return f'{{"next_state": {state}, "reward": 1.0, "done": false}}'

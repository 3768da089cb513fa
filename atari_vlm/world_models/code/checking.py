"""Whether a program is a function of state and action, and what it is that makes one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, SandboxError, SandboxProgramError, SandboxUnavailableError
from atari_vlm.world_models.code.sandbox import Sandbox
from atari_vlm.world_models.code.wire import pack

WORDS = ("raises", "random", "stateful", "mutates", "round-trip")
_SEEDS = (1, 2)


def check_program(
    program: str, *, states: Sequence[Any], actions: Sequence[Any], deadline_s: float = 2.0
) -> tuple[str, ...]:
    """What is wrong with a program, tried from these states with these actions; ``()`` for nothing.

    The shorter of the two begins again until the longer is through. The words, in this order:

    - ``"raises"``: it does not load, or a step raises, is stopped, or gives no ``(state, reward, done)``
    - ``"random"``: another seed gives another answer
    - ``"stateful"``: the same seed gives another answer in another order of calls, or ``step_batch`` another than ``step``
    - ``"mutates"``: a step changes the state it was given, or one it gave before
    - ``"round-trip"``: a state that was taken out and put back goes on in another way, or is no plain data

    Raises ``ConfigError`` without states or actions, and ``SandboxUnavailableError``.
    """
    if not len(states) or not len(actions):
        raise ConfigError("a program is checked with at least one state and one action")
    n = max(len(states), len(actions))
    pairs = [(states[i % len(states)], actions[i % len(actions)]) for i in range(n)]
    try:
        with Sandbox(program, deadline_s=deadline_s) as sandbox:
            found = _found(sandbox, pairs)
    except SandboxUnavailableError:
        raise
    except SandboxError:
        found = {"raises"}
    return tuple(word for word in WORDS if word in found)


def _found(sandbox: Sandbox, pairs: Sequence[tuple[Any, Any]]) -> set[str]:
    """Words in no order. Raises ``SandboxError`` where the program does."""
    audits = [sandbox.audit(*pair) for pair in pairs]
    found = {"mutates"} if any(changed for changed, _, _ in audits) else set()
    firsts = [(first, second) for _, first, second in audits if first is not None]
    if len(firsts) < len(pairs):
        return found | {"round-trip"}
    drawn = _repeated(sandbox, pairs)
    if not drawn and not all(
        _goes_on(sandbox, pair, *steps) for pair, steps in zip(pairs, firsts, strict=True)
    ):
        found.add("round-trip")
    return found | drawn


def _goes_on(
    sandbox: Sandbox, pair: tuple[Any, Any], first: list[Any], second: list[Any] | None
) -> bool:
    """Whether the second step is the same after its state was taken out and put back, as an array where the first was one.

    It need not be where the episode is over, nor for an ``Environment`` that waits for ``set_state`` before every step.
    """
    if second is None or _alike(first, second):
        return True
    try:
        kept = np.asarray(first[0]) if isinstance(pair[0], np.ndarray) else first[0]
        return _alike(second, sandbox.step(kept, pair[1], seed=_SEEDS[0]))
    except SandboxProgramError:
        return False


def _repeated(sandbox: Sandbox, pairs: Sequence[tuple[Any, Any]]) -> set[str]:
    """The pairs in one order, in the other, with another seed, all at once."""
    once = _answers(sandbox, pairs, _SEEDS[0])
    again = _answers(sandbox, pairs[::-1], _SEEDS[0])[::-1]
    found = set() if once == again else {"stateful"}
    if once == again != _answers(sandbox, pairs, _SEEDS[1]):
        found.add("random")
    if not found and "step_batch" in sandbox.methods and not _batch_alike(sandbox, pairs):
        found.add("stateful")
    return found


def _answers(sandbox: Sandbox, pairs: Sequence[tuple[Any, Any]], seed: int) -> list[bytes]:
    return [pack(sandbox.step(state, action, seed=seed)) for state, action in pairs]


def _batch_alike(sandbox: Sandbox, pairs: Sequence[tuple[Any, Any]]) -> bool:
    states: Any = [state for state, _ in pairs]
    if isinstance(states[0], np.ndarray | int | float):
        states = np.asarray(states)
    rows = sandbox.step_rows(states, np.asarray([action for _, action in pairs]), seed=_SEEDS[0])
    single = [sandbox.step(state, action, seed=_SEEDS[0]) for state, action in pairs]
    found = zip(rows.states, rows.rewards.tolist(), rows.dones.tolist(), strict=True)
    return all(_alike(one, list(other)) for one, other in zip(single, found, strict=True))


def _alike(one: Any, other: Any) -> bool:
    """Equal plain data, numbers to the precision of float32."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, str) or isinstance(other, str) or one is None or other is None:
        return type(one) is type(other) and one == other
    if isinstance(one, dict) or isinstance(other, dict):
        return False
    if _holds_no_numbers(one) or _holds_no_numbers(other):
        same = isinstance(one, (list, tuple)) and isinstance(other, (list, tuple))
        return same and len(one) == len(other) and all(map(_alike, one, other))
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and np.allclose(
        one, other, rtol=1e-5, atol=1e-6, equal_nan=True
    )


def _holds_no_numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not all(
        isinstance(item, (int, float, np.generic)) for item in value
    )

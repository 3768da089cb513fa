"""Many small programs as one model: each foretells what it knows, their product foretells the state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, SandboxProgramError, check_count
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.world_models.code.product_weights import (
    fit_weights,
    mean_nats,
    penalised,
    votes_of,
)
from atari_vlm.world_models.code.sandbox import Sandbox, check_text

_GROUP_BYTES = 128 << 10  # of experts in one process
_ASKED = """
EXPERTS = {experts!r}


def asked(name, function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        raise RuntimeError(f"the expert {{name!r}}: {{type(error).__name__}}: {{error}}") from None


def loaded(text):
    space = {{"__name__": "program"}}
    exec(text, space)
    return space["Expert"]()


experts = {{name: asked(name, loaded, text) for name, text in EXPERTS.items()}}


def foretell(states, actions):
    found = []
    for name, expert in experts.items():
        rows = [asked(name, expert.predict, state.copy(), action) for state, action in zip(states, actions)]
        found.append([[[int(at), float(value)] for at, value in asked(name, dict, row).items()] for row in rows])
    return found
"""
_WHOLE = '''"""A product of {count} experts, weighted by maximum likelihood. Each votes for what it foretells."""

import itertools

import numpy as np

WEIGHTS = {weights!r}
EXPERTS = {experts!r}
CONSTRAINTS = {constraints!r}
MOST_TRIED = 64


def loaded(text, name):
    space = {{"__name__": "program"}}
    exec(text, space)
    return space[name]()


experts = {{name: loaded(text, "Expert") for name, text in EXPERTS.items()}}
constraints = [loaded(text, "Constraint") for text in CONSTRAINTS]


class Environment:
    def set_state(self, state):
        self.state = np.array(state)

    def step(self, action):
        """What has the most votes and is allowed; what nobody foretells stays, and so does all where nothing is allowed."""
        for choice in itertools.islice(ranked(self.votes(action)), MOST_TRIED):
            after = self.state.astype(float)
            for at, value in choice:
                after[at] = value
            if all(each.allows(self.state.copy(), action, after.copy()) for each in constraints):
                self.state = after
                break
        return self.state, 0.0, False

    def votes(self, action):
        """{{position: [(votes, value), best first]}}."""
        found = {{}}
        for name, expert in experts.items():
            for at, value in expert.predict(self.state.copy(), action).items():
                heard = found.setdefault(int(at), {{}})
                same = next((v for v in heard if abs(v - value) <= 1e-5 + 1e-5 * abs(value)), float(value))
                heard[same] = heard.get(same, 0.0) + WEIGHTS[name]
        return {{at: sorted(((w, v) for v, w in heard.items()), reverse=True) for at, heard in found.items()}}


def ranked(votes):
    """Choices of one value a position: the best, then those with one position changed, the least loss first, then two."""
    best = {{at: options[0][1] for at, options in votes.items()}}
    yield best.items()
    swaps = sorted((options[0][0] - w, at, v) for at, options in votes.items() for w, v in options[1:])
    for size in (1, 2):
        for chosen in itertools.combinations(swaps, size):
            yield {{**best, **{{at: v for _, at, v in chosen}}}}.items()
'''


@dataclass(frozen=True)
class ProgramProduct:
    """Experts and their ``weights``, both by name; pruned ones are in neither.

    ``values`` float64 ``(D,)``: how many values each number of a state takes, of which an expert without an opinion holds all
    equally likely. ``constraints``: texts of programs, see :meth:`fit`.
    """

    experts: Mapping[str, str]
    weights: Mapping[str, float]
    values: np.ndarray
    constraints: tuple[str, ...] = ()
    deadline_s: float = 2.0

    @classmethod
    def fit(
        cls,
        experts: Mapping[str, str],
        buffer: TransitionBuffer,
        *,
        constraints: Sequence[str] = (),
        prune: float = 0.01,
        deadline_s: float = 2.0,
    ) -> ProgramProduct:
        """The product whose weights make the transitions of ``buffer`` likeliest.

        ``experts``: texts with ``class Expert`` and ``predict(state, action) -> {position: value}``, positions of the next state;
        those left out: no opinion. They run in the sandbox. Weights below ``prune`` are pruned, and the rest fitted anew.
        ``constraints``: texts with ``class Constraint`` and ``allows(state, action, next_state) -> bool``; a state that one of
        them forbids is never predicted, and has the probability of the noise floor.

        Raises ``ConfigError`` for no experts, states that are no vectors of numbers, and an expert of states of another size;
        ``SandboxError`` for an expert that raises.
        """
        if not experts:
            raise ConfigError("a product has at least one expert")
        if not (isinstance(prune, (int, float)) and 0 <= prune < math.inf):
            raise ConfigError(f"prune is a number from 0 on, got {prune!r}")
        for text in (*experts.values(), *constraints):
            check_text(text)
        _, true = vectors(buffer)
        values = np.array([max(2, len(np.unique(column))) for column in true.T], float)
        said = foretold(experts, buffer, deadline_s)
        votes = votes_of(said, true, values)
        kept = penalised(votes) >= prune
        weights = fit_weights(votes, kept)
        kept &= weights >= prune
        names = [name for name, stays in zip(experts, kept, strict=True) if stays]
        found = {name: float(w) for name, w in zip(experts, weights, strict=True) if name in names}
        texts = {name: experts[name] for name in names}
        return cls(texts, found, values, tuple(constraints), deadline_s)

    def log_likelihood(self, buffer: TransitionBuffer) -> float:
        """Mean nats a transition, always finite: a value that nobody foretold has the probability that the votes leave it.

        Raises ``ConfigError`` for states of another size.
        """
        _, true = vectors(buffer)
        if true.shape[1] != len(self.values):
            raise ConfigError(
                f"this product is of states with {len(self.values)} numbers; the buffer's have {true.shape[1]}"
            )
        said = foretold(self.experts, buffer, self.deadline_s)
        weights = np.array(list(self.weights.values()))
        votes = votes_of(said, true, self.values)
        nats, _ = mean_nats(votes, weights)
        forbidden = self._forbidden(buffer)
        return nats - float(forbidden.mean()) * self._floor(len(buffer))

    @property
    def program(self) -> str:
        """The product as one program of contract 1, for whatever takes a program: scorers, :class:`CodeWorldModel`, planners.

        Rewards and ends are none of its business: 0, and no end.
        """
        return _WHOLE.format(
            count=len(self.experts),
            weights=dict(self.weights),
            experts=dict(self.experts),
            constraints=list(self.constraints),
        )

    def _floor(self, count: int) -> float:
        """Nats that a forbidden state costs: all its numbers missed, once in ``count + 1``."""
        check_count(count=count)
        return float(np.log(self.values).sum() + np.log(count + 1))

    def _forbidden(self, buffer: TransitionBuffer) -> np.ndarray:
        """Which true transitions a constraint forbids, bool ``(N,)``."""
        before, after = vectors(buffer)
        found = np.zeros(len(buffer), bool)
        for text in self.constraints:
            asked = f"{text}\n\ndef allowed(states, actions, afters):\n    rule = Constraint()\n"
            asked += (
                "    return [bool(rule.allows(*row)) for row in zip(states, actions, afters)]\n"
            )
            with Sandbox(asked, deadline_s=self.deadline_s) as sandbox:
                for at in range(0, len(buffer), 500):
                    rows = slice(at, at + 500)
                    allowed = sandbox.call(
                        "allowed", before[rows], buffer.actions[rows], after[rows]
                    )
                    found[rows] |= ~np.asarray(allowed, bool)
        return found


def vectors(buffer: TransitionBuffer) -> tuple[np.ndarray, np.ndarray]:
    """States before and after, float64 ``(N, D)``; ``ConfigError`` for states that are none."""
    before, after = buffer.observations, buffer.next_observations
    if not isinstance(before, np.ndarray) or before.ndim != 2 or before.dtype.kind not in "biuf":
        raise ConfigError(
            f"a product foretells states that are vectors of numbers; these are of {buffer.observation_space}"
        )
    return before.astype(np.float64), after.astype(np.float64)


def foretold(experts: Mapping[str, str], buffer: TransitionBuffer, deadline_s: float) -> np.ndarray:
    """What each expert says, float64 ``(K, N, D)``, NaN for no opinion.

    States cross in a drawn order, half of them to a process of its own each time, as the next of one is the state of another.
    """
    states, true = vectors(buffer)
    said = np.full((len(experts), *true.shape), np.nan)
    order = np.random.default_rng(0).permutation(len(states))
    turns = [rows for rows in (order[order % 2 == 0], order[order % 2 == 1]) if len(rows)]
    for names in _groups(experts):
        text = _ASKED.format(experts={name: experts[name] for name in names})
        ours = [list(experts).index(name) for name in names]
        for rows in turns:
            with Sandbox(text, deadline_s=deadline_s) as sandbox:
                for part in np.array_split(rows, max(1, len(rows) * len(names) // 1000)):
                    answers = sandbox.call("foretell", states[part], buffer.actions[part])
                    _take(said, (ours, part), answers, names)
    return said


def _groups(experts: Mapping[str, str]) -> list[list[str]]:
    """Experts that share a process."""
    groups: list[list[str]] = []
    size = _GROUP_BYTES
    for name, text in experts.items():
        length = len(repr(text).encode())
        if size + length > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += length
    return groups


def _take(
    said: np.ndarray, at: tuple[list[int], np.ndarray], answers: Any, names: list[str]
) -> None:
    """Fill in what the experts of a process say of some rows."""
    experts, rows = at
    if not isinstance(answers, list) or len(answers) != len(names):
        raise SandboxProgramError("predict gives {position: value}")
    for expert, answer, name in zip(experts, answers, names, strict=True):
        _fill(said[expert], rows, answer, name)


def _fill(said: np.ndarray, rows: np.ndarray, answer: Any, name: str) -> None:
    """Take an answer, which may be anything."""
    size = said.shape[1]
    try:
        found = [[(int(at), float(value)) for at, value in pairs] for pairs in answer]
    except (TypeError, ValueError, OverflowError):
        found = []
    if len(found) != len(rows):
        raise SandboxProgramError("predict gives {position: value}")
    for row, pairs in zip(rows.tolist(), found, strict=True):
        for at, value in pairs:
            if not 0 <= at < size:
                raise ConfigError(
                    f"the expert {name!r} foretells number {at} of a state; these states have {size} (0 to {size - 1})"
                )
            said[row, at] = value if math.isfinite(value) else np.nan

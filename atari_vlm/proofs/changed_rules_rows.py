"""What is played for ``atari_vlm.proofs.changed_rules``, and what came of it: a row for every change and every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.evaluation.noticing import EXACTLY, Held, Watch, step_errors
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.proofs import changing_catch as catch
from atari_vlm.proofs import changing_pong as pong
from atari_vlm.proofs.changing_learned import at_size_of
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.records import SearchResult
from atari_vlm.synthesis.repairing import repair
from atari_vlm.vlm.base import VLM
from atari_vlm.world_models.code import CodeWorldModel, LocalProgram, golden

USUAL, AFTER = 200, 200  # steps of the small game before and after a change
KNOWN, MET = (
    4,
    24,
)  # steps that its mended program has to replay: since the change, and met from then on
PONG_KNOWN, QUIET, OTHER = (
    30,
    150,
    300,
)  # Pong: likewise; further steps of old rules, and of new ones
RIGHT = 0.98  # of rows that a mended Pong has to foretell
OFF = 0.05  # how often the model that stands for learned ones is wrong by itself
LEARNED = Held(reward_off=0.5, own_eyes=True)
Row = dict[str, Any]


@dataclass(frozen=True)
class Watched:
    """A model, how it sees what was played, and what it is held to."""

    name: str
    model: Any
    seen: Callable[[TransitionBuffer], TransitionBuffer]
    held: Held = EXACTLY
    cpu_seconds: float | None = None  # that it learned


@dataclass(frozen=True)
class Mending:
    """Who writes, of the small game and of Pong, and how it is asked; ``local``: what they write is ours and runs right here."""

    catch: VLM
    pong: VLM
    budget: int = 60
    local: bool = False

    def run(self, program: str) -> str | LocalProgram:
        """A program as a world model takes it."""
        return LocalProgram(program) if self.local else program

    def __call__(
        self, writer: VLM, program: str, played: TransitionBuffer, known: int, seed: int
    ) -> SearchResult:
        """Mend a program by what was played, of which the first ``known`` steps are known from the beginning."""
        config = SearchConfig(
            method="worldcoder",
            select_sequential=True,
            budget=self.budget,
            seed=seed,
            unsafe_local_code=self.local,
        )
        rows = range(len(played))
        return repair(writer, program, played.take(rows[:known]), played.take(rows[known:]), config)


def own_models(mending: Mending) -> list[Watched]:
    """Models of the old rules that were learned by nobody."""
    return [
        Watched("program", _catch_model(catch.OLD.program(), mending), lambda played: played),
        Watched("exact, in pictures", catch.SeenCatch(), catch.in_pictures),
        Watched(f"pictures, {OFF:.0%} wrong", catch.SeenCatch(OFF), catch.in_pictures),
    ]


def _catch_model(program: str, mending: Mending) -> CodeWorldModel:
    spaces = {"observation_space": catch.STATES, "action_space": catch.ACTIONS}
    return CodeWorldModel(mending.run(program), **spaces)


def learned_model(name: str, model: Any, cpu_seconds: float) -> Watched:
    """One that learned from pictures."""

    def seen(played: TransitionBuffer) -> TransitionBuffer:
        return at_size_of(model, catch.in_pictures(played))

    return Watched(name, model, seen, LEARNED, cpu_seconds)


def catch_rows(seed: int, models: Sequence[Watched], mending: Mending) -> Iterator[Row]:
    """The small game with every change of its rules, and how each model noticed; the program is mended."""
    for change, rules in catch.CHANGES.items():
        played = catch.play(catch.OLD, rules, USUAL, USUAL + AFTER, seed)
        for watched in models:
            row: Row = {"game": "Catch", "change": change, "model": watched.name, "seed": seed}
            row |= _catch_noticed(watched, rules, played, seed)
            if watched.cpu_seconds is not None:
                row["cpu_seconds"] = watched.cpu_seconds
            if watched.name == "program":
                since = USUAL + (row["noticed"] or 1) - 1
                row |= mended(rules, played.take(range(since, since + MET)), seed, mending)
            yield row


def _catch_noticed(
    watched: Watched, rules: catch.Rules, played: TransitionBuffer, seed: int
) -> Row:
    """When a model noticed, by when it had to, and whether other play of the old rules leaves it quiet."""
    other = catch.play(catch.OLD, catch.OLD, 0, AFTER, seed + 1000)
    model, held = watched.model, watched.held
    errors = step_errors(model, watched.seen(played), seed=seed, held=held)
    quiet = step_errors(model, watched.seen(other), seed=seed + 1, held=held)
    usual = errors[:USUAL]
    by = Watch(usual).at_most(catch.EVERY if rules.speed == 1 else 1)
    return {
        "noticed": Watch(usual).first(errors[USUAL:]),
        "by": None if math.isinf(by) else by,
        "false_alarm": Watch(usual).first(quiet) is not None,
        "usual_errors": float((usual > 0).mean()),
    }


def mended(rules: catch.Rules, met: TransitionBuffer, seed: int, mending: Mending) -> Row:
    """Whether the program of the old rules is mended by what was met, and in how many calls."""
    result = mending(mending.catch, catch.OLD.program(), met, KNOWN, seed)
    with _catch_model(result.program or catch.OLD.program(), mending) as model:
        other = catch.play(rules, rules, 0, AFTER, seed + 2000)
        errors = step_errors(model, other, seed=seed)
    return {"mended": bool(result.verified) and not errors.any(), "calls": result.calls}


def pong_rows(seed: int, mending: Mending) -> Iterator[Row]:
    """Pong with its switches thrown, against the program that was written for it by hand, and the program mended."""
    quiet = pong.pong_play(seed + 1000, 0, 0, QUIET)
    for difficulty, halved in pong.SWITCHES.items():
        played = pong.pong_play(seed, difficulty, pong.BEFORE, pong.BEFORE + pong.AFTER)
        change = f"difficulty {difficulty}: {' and '.join(halved)}"
        about = {"game": "Pong", "change": change, "seed": seed}
        seen = pong.seen_by_hand(played, pong.BEFORE, difficulty)
        row = {**about, "model": "golden", **_noticed(played, quiet, seed), "by": seen}
        since = pong.BEFORE + (row["noticed"] or 1) - 1
        yield row | pong_mended(played.take(range(since, len(played))), difficulty, seed, mending)
        if len(halved) > 1:
            ball = Held(pong.ball_columns(played))
            row = {
                **about,
                "model": "golden, its ball alone",
                **_noticed(played, quiet, seed, ball),
            }
            yield row | {"by": pong.met_by_hand(played, pong.BEFORE)}


def _noticed(
    played: TransitionBuffer, quiet: TransitionBuffer, seed: int, held: Held = EXACTLY
) -> Row:
    with golden("Pong", unsafe_local_code=True) as model:
        errors = step_errors(model, played, seed=seed, held=held)
        still = step_errors(model, quiet, seed=seed, held=held)
    usual = errors[: pong.BEFORE]
    return {
        "noticed": Watch(usual).first(errors[pong.BEFORE :]),
        "false_alarm": Watch(usual).first(still) is not None,
        "usual_errors": float((usual > 0).mean()),
    }


def pong_mended(met: TransitionBuffer, difficulty: int, seed: int, mending: Mending) -> Row:
    """Whether the program written by hand is mended by what was met, and what it foretells of other play of the new rules."""
    before = pong.program_by_hand()
    result = mending(mending.pong, before, met, PONG_KNOWN, seed)
    after = mending.run(result.program or before)
    other = pong.pong_play(seed + 2000, difficulty, 0, OTHER)
    exact, _ = pong.foretold(after, other, 1)
    later, ball = pong.foretold(after, other, 15)
    return {
        "mended": bool(result.verified) and exact >= RIGHT,
        "calls": result.calls,
        "exact_1": exact,
        "exact_15": later,
        "ball_15": ball,
        "ball_15_before": pong.foretold(LocalProgram(before), other, 15)[1],
    }


def is_shown(row: Row) -> bool:
    """Whether a row is as it has to be."""
    in_time = row["noticed"] is not None and row["by"] is not None and row["noticed"] <= row["by"]
    return in_time and not row.get("false_alarm", False) and row.get("mended", True)

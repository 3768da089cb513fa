"""``python -m atari_vlm.proofs.changed_rules``: rules that change in the middle of a game. Writes changed_rules.md.

A small game of falling balls (`atari_vlm/proofs/changing_catch.py`): after 200 steps as it was learned its actions are mirrored,
or its ball is twice as fast, or both. Each model has to notice within the steps that a hand computation gives, and to stay quiet
where nothing changes; the program is mended by its counterexamples until it replays what was met since. And Pong of ALE, whose
difficulty switches are thrown in the middle of a game, against the program that was written for it by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from atari_vlm.conditions import hardware, machine
from atari_vlm.ending import program
from atari_vlm.evaluation.noticing import Watch, step_errors
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.files import atomic_write
from atari_vlm.proofs import changing_catch as catch
from atari_vlm.proofs.changing_pong import DIFFICULTY, pong_by_hand, pong_meetings, pong_play
from atari_vlm.scores.tables import table_lines
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.repairing import repair
from atari_vlm.world_models.code import CodeWorldModel, golden

USUAL, AFTER = 200, 200  # steps before and after a change
KNOWN, MET = (
    4,
    24,
)  # steps that a mended program has to replay: since the change, and met from then on
OFF = 0.05  # how often the model that stands for learned ones is wrong by itself
Row = dict[str, Any]


@dataclass(frozen=True)
class ChangedRulesConfig:
    """What to play."""

    seeds: list[int] = field(default_factory=lambda: list(range(5)))
    pong: bool = True
    """Pong too, which takes a minute"""
    out: Path = Path("docs/results")
    """where changed_rules.md and .json go"""


def catch_rows(seed: int, *, local: bool = False) -> list[Row]:
    """Every change and every model: when it noticed, and by when it had to; of the program, whether it was mended."""
    rows = []
    for change, rules in catch.CHANGES.items():
        played = catch.play(catch.OLD, rules, USUAL, USUAL + AFTER, seed)
        for name, model, seen in _models(played):
            row: Row = {"game": "Catch", "change": change, "model": name, "seed": seed}
            errors = step_errors(model, seen, seed=seed)
            watch = Watch(errors[:USUAL])
            every = catch.EVERY if rules.speed == 1 else 1
            row |= {"noticed": watch.first(errors[USUAL:]), "by": watch.at_most(every)}
            row["false_alarm"] = (
                Watch(errors[:USUAL]).first(_still(model, played, seed)) is not None
            )
            if name == "program":
                model.close()
                row |= mended(rules, played, USUAL + (row["noticed"] or 1) - 1, seed, local=local)
            rows.append(row)
    return rows


def _models(played: TransitionBuffer) -> list[tuple[str, Any, TransitionBuffer]]:
    """Three models of the old rules, and the play as each of them sees it."""
    spaces = {"observation_space": catch.STATES, "action_space": catch.ACTIONS}
    seen = catch.in_pictures(played)
    return [
        ("program", CodeWorldModel(catch.OLD.program(), **spaces), played),
        ("pictures", catch.SeenCatch(), seen),
        (f"pictures, {OFF:.0%} wrong", catch.SeenCatch(OFF), seen),
    ]


def _still(model: Any, played: TransitionBuffer, seed: int) -> np.ndarray:
    """The errors of a model in other play of the old rules."""
    other = catch.play(catch.OLD, catch.OLD, 0, AFTER, seed + 1000)
    is_seen = model.observation_space == catch.PICTURES
    return step_errors(model, catch.in_pictures(other) if is_seen else other, seed=seed + 1)


def mended(
    rules: catch.Rules, played: TransitionBuffer, since: int, seed: int, *, local: bool = False
) -> Row:
    """Whether the program of the old rules is mended by what is met from step ``since`` on, and in how many calls."""
    known = played.take(range(since, since + KNOWN))
    met = played.take(range(since + KNOWN, since + MET))
    config = SearchConfig(method="worldcoder", budget=12, seed=seed, unsafe_local_code=local)
    result = repair(catch.CatchWriter(), catch.OLD.program(), known, met, config)
    spaces = {"observation_space": catch.STATES, "action_space": catch.ACTIONS}
    with CodeWorldModel(result.program or catch.OLD.program(), **spaces) as model:
        other = catch.play(rules, rules, 0, AFTER, seed + 2000)
        errors = step_errors(model, other, seed=seed)
    return {"mended": bool(result.verified) and not errors.any(), "calls": result.calls}


def pong_row(seed: int) -> Row:
    """Pong with its switches thrown: in which meeting of ball and paddle the program noticed it."""
    played, change = pong_play(seed)
    with golden("Pong") as model:
        errors = step_errors(model, played, seed=seed)
    noticed = Watch(errors[:change]).first(errors[change:])
    meetings = pong_meetings(played, change)
    at = None if noticed is None else change + noticed - 1
    return {
        "game": "Pong",
        "change": f"difficulty {DIFFICULTY}",
        "model": "golden",
        "seed": seed,
        "noticed": noticed,
        "by": pong_by_hand(played, change),
        "meeting": meetings.index(at) + 1 if at in meetings else None,
        "usual_surprises": int((errors[:change] > 0).sum()),
    }


def is_shown(row: Row) -> bool:
    """Whether a row is as it has to be."""
    in_time = row["noticed"] is not None and row["by"] is not None and row["noticed"] <= row["by"]
    return in_time and not row.get("false_alarm", False) and row.get("mended", True)


def to_markdown(config: ChangedRulesConfig, rows: list[Row]) -> str:
    """The page."""
    lines = [
        "# Rules that change in the middle of a game",
        "",
        f"`python -m atari_vlm.proofs.changed_rules`: seeds {', '.join(map(str, config.seeds))}.",
        "",
        hardware(),
        "",
        (__doc__ or "").rpartition("\n\n")[2].replace("\n", " ").strip(),
        "",
        "Noticed, by: steps after the change, the range over the seeds; by is the hand computation's. Quiet: seeds in which "
        f"{AFTER} further steps of the old rules raised no alarm. Mended: seeds in which the program was verified, and then "
        f"made no error in {AFTER} steps of other play of the new rules.",
        "",
        *table_lines(
            [
                "game",
                "change",
                "model",
                "noticed",
                "by",
                "quiet",
                "mended",
                "calls",
                "as it has to be",
            ],
            _summary(rows),
        ),
        "",
    ]
    return "\n".join(lines)


def _summary(rows: list[Row]) -> list[list[str]]:
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["game"], row["change"], row["model"]), []).append(row)
    table = []
    for names, some in groups.items():
        cells = [*names, _range(some, "noticed"), _range(some, "by")]
        cells.append(_count(some, [not row["false_alarm"] for row in some if "false_alarm" in row]))
        cells.append(_count(some, [row["mended"] for row in some if "mended" in row]))
        cells += [_range(some, "calls"), _count(some, list(map(is_shown, some)))]
        table.append(cells)
    return table


def _range(rows: list[Row], name: str) -> str:
    values = [row[name] for row in rows if name in row]
    if not values:
        return "–"
    if None in values:
        return "not by all"
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _count(rows: list[Row], flags: list[bool]) -> str:
    return f"{sum(flags)} of {len(rows)}" if flags else "–"


def prove(config: ChangedRulesConfig, say: Callable[[str], None]) -> int:
    """Play everything and write the page; 0 when all was shown, 3 when not."""
    rows: list[Row] = []
    for seed in config.seeds:
        rows += catch_rows(seed)
        if config.pong:
            rows.append(pong_row(seed))
        say(f"seed {seed}: {sum(map(is_shown, rows))} of {len(rows)} as they have to be")
    page = to_markdown(config, rows)
    config.out.mkdir(parents=True, exist_ok=True)
    atomic_write(config.out / "changed_rules.md", page)
    kept = {"seeds": config.seeds, "machine": machine(), "rows": rows}
    atomic_write(config.out / "changed_rules.json", json.dumps(kept, indent=1) + "\n")
    print(page)
    return 0 if all(map(is_shown, rows)) else 3


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    name = "python -m atari_vlm.proofs.changed_rules"
    config = tyro.cli(ChangedRulesConfig, args=argv, prog=name, description=__doc__)
    return prove(config, lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main())

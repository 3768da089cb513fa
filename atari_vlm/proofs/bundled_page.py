"""The page and the card of the small model that ships."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, reading
from atari_vlm.scores.statistics import Estimate, aggregate
from atari_vlm.scores.tables import table_lines

GOALS = {"Pong": 0.0, "Breakout": 15.0, "Freeway": 15.0}  # to be above
FURTHER = 3  # games besides, in which chance is beaten
COMMAND = "python -m atari_vlm.proofs.bundled"
_PLAYERS = ("model", "random", "black pictures", "other moments")


@dataclass(frozen=True)
class Measured:
    """Returns of everyone who played a game, the same seeds each."""

    game: str
    returns: Mapping[str, Sequence[float]]

    def mean(self, player: str) -> Estimate:
        """Mean and 95 % interval over the episodes."""
        return aggregate(np.array(self.returns[player], float)[:, None], "mean")

    @property
    def beats_chance(self) -> bool:
        """Whether the interval lies above that of random play."""
        return self.mean("model").low > self.mean("random").high


def earlier_returns(
    path: Path, games: Sequence[str], episodes: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """The model's returns from the JSON of an earlier making; ``ConfigError`` unless they are of the same seeds."""
    with reading(path, ConfigError):
        told = json.loads(path.read_text())
        of_seed = told["made"]["seed"]
        found = {g: {"model": [float(r) for r in told["games"][g]["model"]]} for g in games}
    if of_seed != seed:
        raise ConfigError(f"{path} is of a making with seed {of_seed!r}, and this one has {seed}")
    for game, returns in found.items():
        if len(returns["model"]) != episodes:
            raise ConfigError(
                f"{path} holds {len(returns['model'])} episodes of {game}, and --episodes is {episodes}"
            )
    return found


def to_markdown(
    made: Mapping[str, Any],
    rows: Sequence[Measured],
    speed: Mapping[str, float],
    hardware: str,
    earlier: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> tuple[str, bool]:
    """The results page, and whether every goal was reached; ``earlier`` are the returns of an earlier making, by game."""
    reached = {r.game: r.mean("model").value > GOALS[r.game] for r in rows if r.game in GOALS}
    further = [r.game for r in rows if r.game not in GOALS and r.beats_chance]
    episodes = len(rows[0].returns["model"])
    goals = ", ".join(
        f"{game} above {goal:g}: {_yes(reached.get(game))}" for game, goal in GOALS.items()
    )
    page = (
        f"# The small model {'made again' if earlier else 'that ships'}\n\n"
        f"{_how(made)} Made and measured by\n`{COMMAND}`.\n\n"
        f"Whole default episodes of `AtariVLM/<Game>-v5` (frame skip 4, sticky actions 0.25, at most 10,000 steps) on {episodes} "
        "held-out seeds, the likeliest\nanswer taken; mean and 95 % interval (bootstrap over episodes).\n\n"
        + "\n".join(_table(rows))
        + f"\n\nGoals: {goals}; chance beaten with intervals apart in at least {FURTHER} further games: "
        f"{_yes(len(further) >= FURTHER)} ({', '.join(further) or 'none'}).\n\n"
        f"`black pictures` ({len(rows[0].returns['black pictures'])} seeds): the same model and words, every picture black. "
        "`other moments` (the same seeds): every picture replaced by one of the last 500 of\nall the games side by side. "
        "A game in which some actions are right most of the time (Freeway: UP; Assault: FIRE) is "
        "played fairly well without looking.\n\n"
        f"{_again(rows, earlier) if earlier else ''}"
        f"From a fresh Python to the loaded model {speed['load_cpu_seconds']:.2f} CPU seconds; "
        f"{speed['decisions_per_cpu_second']:.0f} decisions a CPU second in one game of Pong, emulator and prompt included.\n\n"
        f"{hardware}\n"
    )
    return page, all(reached.values()) and len(reached) == len(GOALS) and len(further) >= FURTHER


def _again(rows: Sequence[Measured], earlier: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """This making beside an earlier one, game by game; differences are taken seed by seed."""
    lines, apart = [], []
    for row in rows:
        before = Measured(row.game, earlier[row.game])
        differences = np.subtract(row.returns["model"], before.returns["model"])
        found = aggregate(differences[:, None], "mean")
        if not found.low <= 0 <= found.high:
            apart.append(row.game)
        lines.append([row.game, str(before.mean("model")), str(row.mean("model")), str(found)])
    table = table_lines(("game", "an earlier making", "this one", "difference"), lines)
    return (
        "\n".join(table)
        + f"\n\nEqual to the earlier making within the interval of the difference: {_yes(not apart)}"
        + (f" ({', '.join(apart)})" if apart else "")
        + ".\n\n"
    )


def to_card(made: Mapping[str, Any], rows: Sequence[Measured]) -> str:
    """The model's card, which lies beside its weights."""
    return (
        "---\nlicense: mit\nlibrary_name: atari_vlm\n---\n\n# A small vision-language model that plays six Atari games\n\n"
        f"{_how(made)} `{COMMAND}` makes it again.\n\n"
        f"It scores the legal actions (prompt style {made['prompt_type']}, {made['frames']} pictures) and writes no text.\n\n"
        + "\n".join(_table(rows))
        + f"\n\nMean return of whole default episodes of `AtariVLM/<Game>-v5` on {len(rows[0].returns['model'])} held-out seeds "
        f"({len(rows[0].returns['black pictures'])} of them with pictures that are not those of the moment), 95 % interval.\n"
    )


def _how(made: Mapping[str, Any]) -> str:
    reading = made.get("reading")
    more = (
        f"\nThen, its eyes at rest, it learned to read what they see ({_lesson(reading)}"
        if reading
        else ""
    )
    return (
        f"A Qwen3-VL of {made['parameters']:,} parameters, from random weights (seed {made['seed']}), learned the choices of the "
        f"bundled scripted player while it played itself\n(dataset aggregation, {_lesson(made)}{more}"
    )


def _lesson(made: Mapping[str, Any]) -> str:
    lanes = ", ".join(f"{game} {count}" for game, count in made["lanes"].items())
    return (
        f"{made['rounds']} rounds; games side by side: {lanes}): {made['decisions']:,} decisions, "
        f"{made['updates']:,} updates of {made['batch_size']},\n{made['cpu_seconds']:,.0f} CPU seconds of one thread."
    )


def _table(rows: Sequence[Measured]) -> list[str]:
    players = [name for name in _PLAYERS if name in rows[0].returns]
    return table_lines(
        ("game", *players), [[row.game, *(str(row.mean(name)) for name in players)] for row in rows]
    )


def _yes(reached: bool | None) -> str:
    return "not measured" if reached is None else "yes" if reached else "**no**"

"""The page of ``atari_vlm.proofs.changed_rules``."""

from __future__ import annotations

from collections.abc import Sequence

from atari_vlm.conditions import hardware
from atari_vlm.proofs.changed_rules_rows import AFTER, OFF, OTHER, QUIET, RIGHT, Row, is_shown
from atari_vlm.scores.tables import table_lines

_HEADS = ["game", "change", "model", "noticed", "by", "quiet", "mended", "calls", "as it has to be"]
_MENDED_HEADS = ["change", "ball before", "ball", "whole table after 1 step", "after 15", "calls"]


def to_markdown(words: str, about: str, writer: str, rows: list[Row]) -> str:
    """The page: the command's words, what the program says of itself, who wrote, and what came of it."""
    spent = {row["model"]: row["cpu_seconds"] for row in rows if "cpu_seconds" in row}
    learned = ", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.items())
    return "\n".join(
        [
            "# Rules that change in the middle of a game",
            "",
            f"`python -m atari_vlm.proofs.changed_rules {words}`",
            "",
            hardware(),
            "",
            about,
            "",
            "Noticed, by: steps after the change, the range over the seeds; by is the hand computation's. Quiet: seeds in which "
            f"{AFTER} (Pong: {QUIET}) further steps of the old rules raised no alarm. Mended: seeds in which the program replays "
            f"what was met since, and then made no error in {AFTER} steps of other play of the new rules (Pong: at most "
            f"{1 - RIGHT:.0%} of {OTHER} rows). `pictures, {OFF:.0%} wrong` stands for learned models in exact steps.",
            "",
            *([f"CPU seconds of training, once, for all seeds: {learned}.", ""] if learned else []),
            *table_lines(_HEADS, _summary(rows)),
            "",
            *_mended(rows),
            writer,
            "",
        ]
    )


def _mended(rows: Sequence[Row]) -> list[str]:
    some = [row for row in rows if "exact_1" in row]
    if not some:
        return []
    names = ("ball_15_before", "ball_15", "exact_1", "exact_15")
    table = [
        [change, *(_range(group, name, ".3f") for name in names), _range(group, "calls")]
        for (change,), group in _groups(some, "change").items()
    ]
    return [
        f"What the mended Pong foretells of {OTHER} steps of other play of the new rules, from every moment; ball: within "
        "4 pixels after 15 steps, before: by the program as it was.",
        "",
        *table_lines(_MENDED_HEADS, table),
        "",
    ]


def _summary(rows: list[Row]) -> list[list[str]]:
    table = []
    for names, some in _groups(rows, "game", "change", "model").items():
        cells = [*names, _range(some, "noticed"), _range(some, "by")]
        cells.append(_count(some, [not row["false_alarm"] for row in some if "false_alarm" in row]))
        cells.append(_count(some, [row["mended"] for row in some if "mended" in row]))
        cells += [_range(some, "calls"), _count(some, list(map(is_shown, some)))]
        table.append(cells)
    return table


def _groups(rows: Sequence[Row], *names: str) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def _range(rows: Sequence[Row], name: str, form: str = "g") -> str:
    values = [row[name] for row in rows if name in row]
    if not values:
        return "–"
    if None in values:
        return "not by all"
    low, high = (format(value, form) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _count(rows: Sequence[Row], flags: list[bool]) -> str:
    return f"{sum(flags)} of {len(rows)}" if flags else "–"

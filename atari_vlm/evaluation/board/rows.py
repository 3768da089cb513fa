"""The rows of results that follow from episodes which came out as told, held against the rows that a bundle claims."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.evaluation.board.bundle import Refused, Submission, Told
from atari_vlm.evaluation.board.claims import ClaimedStudy
from atari_vlm.evaluation.results import Run
from atari_vlm.evaluation.results_files import COLUMNS

_TAKEN_AS_SAID = ("base_url", "input_tokens", "output_tokens", "cost_usd")
_JOIN = " | "


@dataclass(frozen=True)
class Played:
    """What is kept of an episode that came out as told; ``fallbacks`` is ``None`` where nobody tells."""

    key: tuple[str, str, int, int]
    episode_return: float
    length: int
    is_cut: bool
    fallbacks: int | None
    calls: int
    models: tuple[str, ...]

    @classmethod
    def of(cls, told: Told, fallbacks: int | None) -> Played:
        """Without its replies, which may be many."""
        texts = (said.reply.model for said in told.replies if said.scores is None)
        models = tuple(dict.fromkeys(filter(None, texts)))
        outcome = (float(told.episode_return), told.length, told.truncated)
        return cls(told.key, *outcome, fallbacks, len(told.replies), models)


def check_rows(
    study: ClaimedStudy,
    submission: Submission,
    played: Sequence[Played],
    *,
    taught: Collection[str],
) -> None:
    """Raise :class:`Refused` for a row of ``results`` that is not what the episodes give, and for ``model_served`` of an agent.

    The rows of ``taught`` agents count training episodes that are not in the bundle.
    """
    groups: dict[tuple[str, str, int], list[Played]] = {}
    for each in sorted(played, key=lambda each: each.key[3]):
        groups.setdefault(each.key[:3], []).append(each)
    keys = [(row.get("game"), row.get("agent"), row.get("seed")) for row in submission.results]
    if len(set(map(str, keys))) < len(keys) or {*map(str, keys)} != {*map(str, groups)}:
        raise Refused("results has not one row of each game, agent and seed of its config")
    entries = {entry["agent"]: entry for entry in submission.agents}
    normalises = study.protocol.references is not None
    for row in submission.results:
        key = (row["game"], row["agent"], row["seed"])
        _check_row(row, groups[key], entries[row["agent"]], normalises, row["agent"] in taught)
    for label, entry in entries.items():
        rows = [row for row in submission.results if row["agent"] == label]
        served = served_by([str(row["model_served"]) for row in rows])
        if entry.get("model_served") != served:
            raise Refused(
                f"model_served of the agent {label!r} is {entry.get('model_served')!r:.80}, and by its results {served!r:.80}"
            )


def served_by(rows: Sequence[str]) -> str:
    """What served an agent, from the ``model_served`` of its rows."""
    return _JOIN.join(dict.fromkeys(part for row in rows for part in row.split(_JOIN) if part))


def _check_row(
    row: Mapping[str, Any],
    played: Sequence[Played],
    entry: Mapping[str, Any],
    normalises: bool,
    taught: bool,
) -> None:
    title = f"results of {row['game']}, {row['agent']}, seed {row['seed']}"
    if row.keys() != {*COLUMNS}:
        odd = sorted({str(name) for name in row} ^ {*COLUMNS})
        raise Refused(f"{title} has not the columns of results.csv ({odd[0]:.40})")
    _check_said(row, title)
    wanted = _run(row, played, entry, normalises).as_row()
    for name in COLUMNS:
        if name in _TAKEN_AS_SAID or (taught and name in ("calls", "model_served")):
            continue
        if name == "fallback_rate" and any(each.fallbacks is None for each in played):
            continue
        if not _same(row[name], wanted[name]):
            raise Refused(
                f"{title}: {name} is {row[name]!r:.80}, and comes out {wanted[name]!r:.80}"
            )
    if taught:
        _check_taught(row, wanted, title)


def _check_said(row: Mapping[str, Any], title: str) -> None:
    """What is taken as said is at least of its kind."""
    if not isinstance(row["base_url"], str) or len(row["base_url"]) > 400:
        raise Refused(f"{title}: base_url is no address")
    for name in ("input_tokens", "output_tokens", "cost_usd"):
        value = row[name]
        known = type(value) in (int, float) and 0 <= value < 1e15
        if value is not None and not known:
            raise Refused(f"{title}: {name} is no number")


def _check_taught(row: Mapping[str, Any], wanted: Mapping[str, Any], title: str) -> None:
    calls, served = row["calls"], row["model_served"]
    if type(calls) is not int or calls < wanted["calls"]:
        raise Refused(
            f"{title}: calls is {calls!r:.40}, and its episodes alone have {wanted['calls']}"
        )
    known = set(served.split(_JOIN)) if isinstance(served, str) else set()
    if not {part for part in wanted["model_served"].split(_JOIN) if part} <= known:
        raise Refused(
            f"{title}: model_served is {served!r:.80}, and its replies say {wanted['model_served']!r:.80}"
        )


def _run(
    row: Mapping[str, Any], played: Sequence[Played], entry: Mapping[str, Any], normalises: bool
) -> Run:
    models = dict.fromkeys(model for each in played for model in each.models)
    return Run(
        game=row["game"],
        agent=row["agent"],
        seed=row["seed"],
        returns=tuple(each.episode_return for each in played),
        steps=sum(each.length for each in played),
        fallbacks=float(sum(each.fallbacks or 0 for each in played)),
        cost_usd=row["cost_usd"],
        cut=sum(each.is_cut for each in played),
        model=str(entry.get("model")),
        model_served=_JOIN.join(models),
        base_url=row["base_url"],
        calls=sum(each.calls for each in played),
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        normalises=normalises,
    )


def _same(said: Any, came: Any) -> bool:
    numbers = (int, float)
    if type(said) in numbers and type(came) in numbers:
        return math.isclose(said, came, rel_tol=1e-9, abs_tol=1e-12)
    return type(said) is type(came) and bool(said == came)

"""The runs of a study from its journal: what every seed of every cell scored, asked and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.evaluation.cells import Cell
from atari_vlm.evaluation.entrants import Entrant
from atari_vlm.evaluation.results import Run
from atari_vlm.runs.journal import EpisodeRow, Journal


@dataclass(frozen=True)
class Asked:
    """What some episodes asked. Counts of tokens and dollars are ``None`` where a reply does not tell."""

    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    latency_s: float
    served: tuple[str, ...]

    @classmethod
    def of(cls, replies: Sequence[tuple[Mapping[str, Any], bool]]) -> Asked:
        """From replies as the journal holds them, and whether each was paid for."""
        texts = [reply for reply, _ in replies if "text" in reply]
        usage = [reply.get("usage") or {} for reply in texts]
        served = dict.fromkeys(str(reply["model"]) for reply in texts if reply.get("model"))
        latency = sum(float(reply.get("latency_s") or 0.0) for reply in texts)
        dollars = [
            reply.get("cost_usd") if paid else 0.0 for reply, paid in replies if "text" in reply
        ]
        return cls(
            calls=len(replies),
            input_tokens=_total([counts.get("input_tokens") for counts in usage]),
            output_tokens=_total([counts.get("output_tokens") for counts in usage]),
            cost_usd=_total(dollars),
            latency_s=latency / max(1, len(texts)),
            served=tuple(served),
        )


def _total(values: Sequence[Any]) -> Any:
    return None if any(value is None for value in values) else sum(values)


@dataclass(frozen=True)
class Finished:
    """The finished episodes of a journal with their last steps."""

    journal: Journal
    rows: Mapping[int, EpisodeRow]

    @classmethod
    def of(cls, journal: Journal) -> Finished:
        """All of them."""
        return cls(
            journal, {row.episode: row for row in journal.episodes() if row.status == "done"}
        )

    def ends(self, episode: int) -> tuple[bool, bool]:
        """Whether an episode's last step terminated it, and whether it was cut there."""
        last = self.journal.steps(episode)[-1]
        return last.terminated, last.truncated and not last.terminated

    def asked(self, episodes: Sequence[int]) -> Asked:
        """What was asked in some episodes."""
        calls = [call for episode in episodes for call in self.journal.calls(episode)]
        return Asked.of([(call.reply, call.paid) for call in calls if call.reply is not None])


def runs_of(cell: Cell, entrant: Entrant, finished: Finished, normalises: bool) -> Iterator[Run]:
    """The runs of a cell whose episodes are all finished."""
    for seed, specs in cell.episodes.items():
        if all(spec.episode in finished.rows for spec in specs):
            yield _run(cell, entrant, finished, seed, normalises)


def _run(cell: Cell, entrant: Entrant, finished: Finished, seed: int, normalises: bool) -> Run:
    played = [spec.episode for spec in cell.episodes[seed]]
    taught = [spec.episode for spec in cell.lessons.get(seed, ())]
    rows = [finished.rows[episode] for episode in played]
    asked = finished.asked([*taught, *played])
    return Run(
        game=cell.game.name,
        agent=cell.agent,
        seed=seed,
        returns=tuple(row.episode_return or 0.0 for row in rows),
        steps=sum(row.length or 0 for row in rows),
        fallbacks=sum((row.fallback_rate or 0.0) * (row.length or 0) for row in rows),
        cost_usd=None if asked.cost_usd is None else float(asked.cost_usd),
        cut=sum(finished.ends(episode)[1] for episode in played),
        model=entrant.model,
        model_served=" | ".join(asked.served),
        base_url=entrant.base_url,
        calls=asked.calls,
        input_tokens=asked.input_tokens,
        output_tokens=asked.output_tokens,
        latency_s=asked.latency_s,
        factor=cell.variant.factor,
        condition=cell.variant.condition,
        normalises=normalises,
    )


class RowsSoFar:
    """The rows of results.csv of a study that goes on, made when it is called; a finished run is read but once."""

    def __init__(
        self, laid_out: Sequence[tuple[Cell, Entrant]], journal: Journal, normalises: bool
    ):
        self._laid_out = [both for both in laid_out if not both[0].variant.factor]
        self._journal, self._normalises = journal, normalises
        self._rows: dict[tuple[int, int], dict[str, Any]] = {}

    def __call__(self) -> list[dict[str, Any]]:
        """Those of the study itself, in the order of the table."""
        finished = Finished.of(self._journal)
        for at, (cell, entrant) in enumerate(self._laid_out):
            for seed, specs in cell.episodes.items():
                if (at, seed) not in self._rows and all(
                    spec.episode in finished.rows for spec in specs
                ):
                    run = _run(cell, entrant, finished, seed, self._normalises)
                    self._rows[at, seed] = run.as_row()
        keys = [(at, seed) for at, (cell, _) in enumerate(self._laid_out) for seed in cell.episodes]
        return [self._rows[key] for key in keys if key in self._rows]


def episode_rows(laid_out: Sequence[Cell], finished: Finished) -> Iterator[dict[str, Any]]:
    """The finished evaluation episodes of the study itself, under the columns of episodes.csv."""
    for cell in laid_out:
        if cell.variant.factor:
            continue
        for seed, specs in cell.episodes.items():
            for number, spec in enumerate(specs):
                if spec.episode in finished.rows:
                    row = finished.rows[spec.episode]
                    terminated, truncated = finished.ends(spec.episode)
                    yield {
                        "game": cell.game.name,
                        "agent": cell.agent,
                        "seed": seed,
                        "episode": number,
                        "return": row.episode_return,
                        "length": row.length,
                        "terminated": terminated,
                        "truncated": truncated,
                    }

"""What a study will take, before it is paid for: calls, tokens, dollars and hours of each agent.

The study is played once with stand-ins that answer at random and cost nothing, as far as :data:`MOST_STEPS` go: that counts the
calls and weighs every request. Then each agent's model is asked one real request, the one whose weight is nearest to the mean;
its tokens, price and seconds stand for all. Nothing of this is in the run's journal: the same command without ``--estimate``
plays the study from its beginning.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm.agents.thoughts import split_thinking
from atari_vlm.evaluation.cells import Cell, cells, named
from atari_vlm.evaluation.entrants import Entrant
from atari_vlm.evaluation.evaluate import Evaluation, Watching
from atari_vlm.evaluation.playing import Table, play_cell
from atari_vlm.evaluation.stand_in import StandIn
from atari_vlm.evaluation.study import Study
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.files import atomic_write
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.outputs import EPISODE_STEPS
from atari_vlm.types import Reply, Usage
from atari_vlm.vlm.base import request_key
from atari_vlm.vlm.prices import cost_usd

MOST_STEPS = 8_000  # that stand-ins play; a longer study is counted from a part of it
FEWEST_STEPS = 30  # of an episode, when many are only begun
UNASKED_STEPS = 5  # of a planner or a policy that asks nobody: only its seconds are wanted
COLUMNS = ("agent", "calls", "input_tokens", "output_tokens", "cost_usd", "hours")


@dataclasses.dataclass
class Counted:
    """What an agent's part of a study showed: how many steps the study has, and seconds of a step without waiting."""

    stand_in: StandIn | None
    steps: float = 0.0
    played: int = 0
    spent_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the whole study without waiting for replies."""
        return self.steps * self.spent_s / max(1, self.played)


def estimate(
    config: EvaluateConfig, watching: Watching | None = None
) -> tuple[Path, list[dict[str, Any]]]:
    """Write ``estimate.json`` into the study's run folder; the folder, and a row under :data:`COLUMNS` for each agent.

    At most one paid request per agent is made, none where the file holds the answer to the same request already.
    """
    with Evaluation(config, watching) as evaluation:
        file = evaluation.run.path / "estimate.json"
        known, answers = _known(file), {}
        agents = []
        for agent, counted in count(evaluation).items():
            entrant = next(e for name, e in evaluation.entrants.items() if name[0] == agent)
            answer = _answer(entrant, counted.stand_in, known)
            if answer is not None:
                answers[answer["request"]] = answer
            agents.append(_row(agent, counted, answer, config.parallel))
        content = {"agents": agents, "answers": list(answers.values()), "how": __doc__}
        atomic_write(file, json.dumps(content, indent=1, allow_nan=False) + "\n")
        return evaluation.run.path, agents


def count(evaluation: Evaluation) -> dict[str, Counted]:
    """Play a part of the study with stand-ins; what it showed, by agent."""
    study, entrants = evaluation.study, evaluation.entrants
    counted = {agent.label: Counted(None) for agent in study.agents}
    for (label, *_), entrant in entrants.items():
        if entrant.vlm is not None and counted[label].stand_in is None:
            counted[label].stand_in = StandIn(entrant.vlm)
    asked, unasked = smaller(study, evaluation.cells), part_of(study, UNASKED_STEPS)
    whole = {_key(cell): cell for cell in evaluation.cells}
    lengths: dict[str, float] = {}
    for part, brief in ((asked, False), (unasked, True)):
        for cell in cells(part, evaluation.lessons):
            entrant = entrants[named(cell.variant)]
            if (entrant.vlm is None and entrant.spec.kind != "simple") is brief:
                pair = (whole[_key(cell)], cell)
                steps = _count_cell((study, part), pair, entrant, counted[cell.agent])
                usual = lengths.setdefault(cell.game.name, steps)
                counted[cell.agent].steps += usual if brief else steps
    return counted


def _count_cell(
    studies: tuple[Study, Study], pair: tuple[Cell, Cell], entrant: Entrant, counted: Counted
) -> float:
    """Play the part of a cell in a journal of its own, which is thrown away; how many steps the cell has."""
    (study, part), (whole, cell) = studies, pair
    standing = dataclasses.replace(entrant, vlm=counted.stand_in)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        with Journal(Path(folder) / "journal.sqlite") as journal:
            play_cell(part, cell, standing, Table(journal))
            rows = journal.episodes()
            cut = any(journal.steps(row.episode)[-1].truncated for row in rows)
    counted.spent_s += time.process_time() - began
    length = sum(row.length or 0 for row in rows)
    factor = len(whole.everything) / len(cell.everything)
    if cut:
        factor *= _limit(study) / _limit(part)
    counted.played += length
    if counted.stand_in is not None:
        counted.stand_in.stood_for(factor)
    return factor * length


def smaller(study: Study, laid_out: Sequence[Cell]) -> Study:
    """The study, or a part of it that is played in :data:`MOST_STEPS` steps: its first seed, one episode, cut earlier."""
    episodes = sum(len(cell.everything) for cell in laid_out)
    if episodes * _limit(study) <= MOST_STEPS:
        return study
    each = sum(1 + len(next(iter(cell.lessons.values()), ())) for cell in laid_out)
    return part_of(study, max(FEWEST_STEPS, MOST_STEPS // max(1, each)))


def part_of(study: Study, steps: int) -> Study:
    """The first seed of a study, one episode of it, cut after so many steps at most."""
    changes: dict[str, Any] = {
        "seeds": [study.seeds[0]],
        "episodes": 1,
        "max_steps": min(steps, _limit(study)),
    }
    return Study(dataclasses.replace(study.config, **changes))


def _limit(study: Study) -> int:
    return study.protocol.max_steps or EPISODE_STEPS


def _key(cell: Cell) -> tuple[str, ...]:
    return (cell.game.name, *named(cell.variant))


def _answer(
    entrant: Entrant, stand_in: StandIn | None, known: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What the agent's model says to its typical request; asked now, or as the last estimate had it."""
    request = stand_in.typical() if stand_in is not None else None
    if request is None or entrant.vlm is None:
        return None
    key = request_key(entrant.vlm.name, request.messages, request.sampling, request.choices)
    if key in known:
        return {**known[key]}
    began = time.monotonic()
    if request.sampling is None:
        entrant.vlm.score_choices(request.messages, request.choices)
        reply = Reply("", entrant.vlm.name, usage=Usage(0, 0), latency_s=time.monotonic() - began)
    else:
        reply = entrant.vlm.complete(request.messages, sampling=request.sampling).legal()
    return {
        "request": key,
        "weight": request.weight,
        "letters": len(split_thinking(reply.text)[1] or reply.text),
        "model": reply.model,
        "input_tokens": reply.usage.input_tokens,
        "output_tokens": reply.usage.output_tokens,
        "cost_usd": reply.cost_usd,
        "latency_s": reply.latency_s or time.monotonic() - began,
    }


def _known(file: Path) -> dict[str, Any]:
    """The answers of an earlier estimate, by request; none where there is none that can be read."""
    try:
        answers = json.loads(file.read_text(encoding="utf-8"))["answers"]
        return {str(answer["request"]): answer for answer in answers}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _row(
    agent: str, counted: Counted, answer: Mapping[str, Any] | None, parallel: int
) -> dict[str, Any]:
    stand_in, waited_s = counted.stand_in, 0.0
    calls: float = 0.0
    read: Any = 0.0
    written: Any = 0.0
    dollars: float | None = 0.0
    if stand_in is not None and answer is not None:
        calls = stand_in.calls
        scale = stand_in.weight_with(answer["letters"]) / answer["weight"]
        read = _times(answer["input_tokens"], scale)
        written = _times(answer["output_tokens"], calls)
        dollars = _dollars(answer, calls, read, written)
        waited_s = calls * answer["latency_s"] / parallel
    values = (
        *(agent, round(calls), *(None if n is None else round(n) for n in (read, written))),
        *(dollars, (counted.seconds + waited_s) / 3600),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _times(value: Any, factor: float) -> Any:
    return None if value is None else value * factor


def _dollars(answer: Mapping[str, Any], calls: float, read: Any, written: Any) -> float | None:
    """By the model's price where it is in the table, else by what the one reply cost."""
    if answer["cost_usd"] is None or not calls:
        return None if calls else 0.0
    if read is not None and written is not None:
        mean = Usage(math.ceil(read / calls), math.ceil(written / calls))
        priced = cost_usd(str(answer["model"]), mean)
        asked = Usage(answer["input_tokens"], answer["output_tokens"])
        if priced is not None and cost_usd(str(answer["model"]), asked) == answer["cost_usd"]:
            return float(priced * calls)
    return float(answer["cost_usd"] * calls)

"""A study on the workers of a Ray cluster: a unit is an agent on a game with a seed, its lessons and its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.evaluation.cells import Cell, named
from atari_vlm.evaluation.entrants import Entrant
from atari_vlm.evaluation.entry import Entry, defaults_of
from atari_vlm.evaluation.playing import Table, play_cell
from atari_vlm.evaluation.study import Study
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.own_classes import is_own
from atari_vlm.runs.cluster.units import Needs, Unit
from atari_vlm.runs.cluster.worker import PlayUnit, Seat, Tools
from atari_vlm.runs.player import EpisodeSpec
from atari_vlm.vlm.catalogue import OFFLINE_NAMES, TINY, entry

_ASKS = Needs(cpus=0.1, kind="asks")  # waits for replies most of the time


@dataclass(frozen=True)
class StudyWork:
    """A study as its workers know it; ``config`` holds no key (:class:`~atari_vlm.runs.cluster.options.ExecutorOptions`)."""

    config: EvaluateConfig

    def open(self, tools: Tools, opened: ExitStack) -> PlayUnit:
        """Load an agent when its first unit comes."""
        study = Study(self.config)
        entry = Entry(defaults_of(study), tools.budget, opened, tools.share)
        entrants: dict[tuple[str, str, str], Entrant] = {}

        def play(cell: Cell, seat: Seat) -> None:
            name = named(cell.variant)
            if name not in entrants:
                entrants[name] = entry.entrant(cell.variant.agent)
            table = Table(seat.journal, 1, seat.progress, seat.stop)
            play_cell(study, cell, entrants[name], table)

        return play


def finished_units(cells: Sequence[Cell], done: Container[int]) -> Iterator[EpisodeSpec]:
    """The episodes of units that are done."""
    for cell in cells:
        for seed, specs in cell.episodes.items():
            if all(spec.episode in done for spec in specs):
                yield from (*cell.lessons.get(seed, ()), *specs)


def units_of(
    cells: Sequence[Cell],
    entrant: Callable[[Cell], Entrant],
    done: Container[int],
    *,
    has_gpus: bool,
) -> Iterator[Unit]:
    """The units of some cells that are not done."""
    for cell in cells:
        player = entrant(cell)
        needs = needs_of(cell.variant.agent, player, has_gpus)
        for seed, specs in cell.episodes.items():
            if all(spec.episode in done for spec in specs):
                continue
            lessons = {seed: cell.lessons[seed]} if seed in cell.lessons else {}
            part = Cell(cell.game, cell.variant, {seed: specs}, lessons)
            title = f"{cell.game.name}, {cell.variant.title}, seed {seed}"
            episodes = [spec.episode for spec in part.everything]
            yield Unit(part, title, episodes, needs, cell.variant.title, player.is_paid)


def needs_of(spec: AgentSpec, entrant: Entrant, has_gpus: bool) -> Needs:
    """What a worker takes that plays an agent."""
    asked = spec.options.get("vlm") if spec.kind == "planner" else spec.name
    if entrant.vlm is None or not isinstance(asked, str):
        return Needs()
    return needs_of_vlm(asked, entrant.base_url, has_gpus=has_gpus)


def needs_of_vlm(name: str, base_url: str | None, *, has_gpus: bool) -> Needs:
    """What a worker takes that asks a VLM: a processor; a GPU for a model that is loaded there, where there are any."""
    if name in (*OFFLINE_NAMES, TINY) or is_own(name):
        return Needs()
    if entry(name).kind == "api" or base_url:
        return _ASKS
    return Needs(gpus=1.0 if has_gpus else 0.0, kind=name)  # one such model in a process

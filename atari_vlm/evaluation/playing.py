"""Playing the cells of a study: lessons first, then the evaluation with what was learned, every episode journalled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from atari_vlm._lazy import load
from atari_vlm.agents.base import Agent
from atari_vlm.agents.in_context.demonstrations import (
    Demonstration,
    DemonstrationLibrary,
    DemonstrationRecorder,
)
from atari_vlm.agents.make import SIMPLE_NAMES, make_agent
from atari_vlm.agents.pace import PacedAgent
from atari_vlm.errors import MismatchError
from atari_vlm.evaluation.cells import Cell
from atari_vlm.evaluation.entrants import Entrant, Lessons
from atari_vlm.evaluation.study import Study
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.player import EpisodeSpec, Player, PlayerOptions
from atari_vlm.runs.progress import Progress, Quiet
from atari_vlm.runs.record import Record
from atari_vlm.spaces import Env
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.load import load_vlm

_IMPORT = "atari_vlm.runs.demonstration_files:import_demonstrations"


@dataclass(frozen=True)
class Table:
    """Where a study is played: its journal, how many episodes at once, who is told, and what ends it early."""

    journal: Record
    parallel: int = 1
    progress: Progress = field(default_factory=Quiet)
    stop: threading.Event | None = None


def environment_maker(study: Study, cell: Cell, entrant: Entrant) -> Callable[[], Env]:
    """How the environments of a cell are made."""
    settings = study.environment(cell.game, entrant.scene)
    return lambda: make_env(settings)


def play_cell(study: Study, cell: Cell, entrant: Entrant, table: Table) -> None:
    """Play every episode of a cell that the journal does not hold yet."""
    player = Player(
        table.journal,
        entrant.asked,
        environment_maker(study, cell, entrant),
        PlayerOptions(study.protocol.max_steps, table.parallel, table.progress, table.stop),
    )
    if entrant.lessons is None:
        player.play(cell.specs, agent_maker(study, entrant, entrant.asked, ()))
        return
    done = {row.episode for row in table.journal.episodes() if row.status == "done"}
    for seed, specs in cell.episodes.items():
        if not all(spec.episode in done for spec in specs):
            shown = _taught(study, cell, seed, entrant, entrant.lessons, player)
            player.play(specs, agent_maker(study, entrant, entrant.asked, shown))


def agent_maker(
    study: Study, entrant: Entrant, _: VLM, shown: Sequence[Demonstration]
) -> Callable[[VLM, Env], Agent]:
    """How the agents of some episodes are made, at the protocol's pace."""
    return lambda vlm, env: paced(study, entrant.make(vlm, env, shown), env)


def paced(study: Study, agent: Agent, env: Env) -> Agent:
    """The agent at the protocol's pace."""
    protocol = study.protocol
    if protocol.opening_noops == 0 and protocol.act_every == 1:
        return agent
    return PacedAgent(
        agent, env.action_space, opening=protocol.opening_noops, every=protocol.act_every
    )


def _taught(
    study: Study, cell: Cell, seed: int, entrant: Entrant, lessons: Lessons, player: Player
) -> tuple[Demonstration, ...]:
    """What an agent is shown after its lessons: demonstrations of a data set, and its training episodes, round by round."""
    library = DemonstrationLibrary()
    if lessons.dataset:
        library.add(_imported(lessons, cell.game.name))
    specs = cell.lessons.get(seed, ())

    def recorder(spec: EpisodeSpec) -> DemonstrationRecorder:
        return DemonstrationRecorder(spec.episode, lessons.in_context.examples)

    for start in range(0, len(specs), lessons.round_size):
        maker = (
            _taught_by(study, lessons.player)
            if lessons.player
            else agent_maker(study, entrant, entrant.asked, library.snapshot())
        )
        played = player.play(specs[start : start + lessons.round_size], maker, watch=recorder)
        library.add([episode.result for episode in played])
    return library.snapshot()


def _taught_by(study: Study, name: str) -> Callable[[VLM, Env], Agent]:
    """Somebody else plays the lessons; the VLM of the agent that learns is not asked."""

    def make(_: VLM, env: Env) -> Agent:
        if name in SIMPLE_NAMES:
            return paced(study, make_agent(name, action_space=env.action_space), env)
        return paced(study, make_agent(name, vlm=load_vlm(name)), env)

    return make


def _imported(lessons: Lessons, game: str) -> list[Demonstration]:
    dataset = lessons.dataset.format(game=game) if "{game}" in lessons.dataset else lessons.dataset
    read: Callable[..., Any] = load(_IMPORT)
    demonstrations: list[Demonstration] = read(dataset, lessons.in_context.examples)
    for demonstration in demonstrations:
        if demonstration.game != game:
            raise MismatchError(
                f"the demonstrations {dataset!r} are of {demonstration.game}, the study plays {game}; one data set per game "
                "is named with {game} in its place"
            )
    return demonstrations

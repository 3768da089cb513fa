"""A study: games x agents x seeds, every episode journalled, every score beside random and scripted play.

All agents get the same episode seeds. Nothing learns while it is evaluated, so episodes may be played in any number at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.cells import Cell, cells, named
from atari_vlm.evaluation.collecting import Entrants, collect
from atari_vlm.evaluation.entrants import Entrant
from atari_vlm.evaluation.entry import Entry, check_contract, defaults_of, lessons_of_spec
from atari_vlm.evaluation.measured import Finished, RowsSoFar, episode_rows
from atari_vlm.evaluation.playing import Table, environment_maker, paced, play_cell
from atari_vlm.evaluation.recorded_study import facts_of, scenes_of_cells
from atari_vlm.evaluation.results import Results
from atari_vlm.evaluation.results_files import write_results
from atari_vlm.evaluation.spread import StudyWork, finished_units, units_of
from atari_vlm.evaluation.study import (
    AMOUNTS,
    Study,
    check,
    settings_of,
)
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.reporting.study.page import write_study
from atari_vlm.runs.cluster.dealing import Dealer, Desk
from atari_vlm.runs.cluster.session import Session, check_ray, session
from atari_vlm.runs.command_line import command_line, command_of
from atari_vlm.runs.continuing import ResumeRules
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.options import execution_of
from atari_vlm.runs.progress import Progress, Quiet
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.runs.trackers import EpisodeLog, LogConfig, check_installed
from atari_vlm.settings import flat
from atari_vlm.spaces import Env
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.stack import budget_of


@dataclass(frozen=True)
class Watching:
    """Who is told what goes on, what ends the run early, and conditions to note with the results."""

    progress: Progress = field(default_factory=Quiet)
    stop: threading.Event | None = None
    conditions: Sequence[tuple[str, str]] = ()
    cell_began: Callable[[Cell], object] = lambda cell: None
    began: Callable[[Path, int, Budget], object] = lambda run, episodes, budget: None


class Evaluation:
    """A study in its run folder. Use it as a context manager: it holds the run's lock and what its agents have open.

    Raises ``ConfigError`` (and its kin) for what cannot be played, before anything is asked.
    """

    def __init__(self, config: EvaluateConfig, watching: Watching | None = None):
        self.study, self.watching = check(config), watching or Watching()
        check_installed(config.log)
        if config.executor == "ray":
            check_ray()
        self.budget = budget_of(config)
        with ExitStack() as opened:
            self.lessons = lessons_of(self.study)
            self.entrants = entrants(self.study, self.budget, opened, self.lessons)
            check_games(self.study, self.entrants, self.lessons)
            self.session: Session | None = None
            if config.executor == "ray":
                self.session = opened.enter_context(session(config))
            self.run = RunFolder.open(run_request(self.study))
            opened.callback(self.run.close)
            self.cells = cells(self.study, self.lessons, self.run.parts)
            self._describe()
            self.budget.restore_from(_paid_replies(self.cells, self.entrants, self.run.journal))
            self._opened = opened.pop_all()

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def num_episodes(self) -> int:
        """Episodes of all cells, lessons included."""
        return sum(len(cell.everything) for cell in self.cells)

    def rows_so_far(self) -> RowsSoFar:
        """What makes the rows of results.csv while the study goes on."""
        laid_out = [(cell, self.entrant(cell)) for cell in self.cells]
        return RowsSoFar(laid_out, self.run.journal, self.study.protocol.references is not None)

    def entrant(self, cell: Cell) -> Entrant:
        """Who plays a cell."""
        return self.entrants[named(cell.variant)]

    def play(self) -> Results:
        """Play everything that is not played yet and write the tables, also when it ends early."""
        watching, config = self.watching, self.study.config
        watching.began(self.run.path, self.num_episodes, self.budget)
        settings = flat(settings_of(self.study))
        log = EpisodeLog(self.run.path, LogConfig(config.log, settings), watching.progress.say)

        def note() -> None:
            log.update(self.run.journal.episodes())

        try:
            if self.session is None:
                self._play_here(note)
            else:
                self._deal_out(self.session, note)
            self.run.finish()
        finally:
            log.close()
            results = self.results()
            self.write(results)
        write_study(self.run.path)
        return results

    def _play_here(self, note: Callable[[], object]) -> None:
        """Play cell after cell in this process."""
        watching = self.watching
        parallel = self.study.config.parallel
        table = Table(self.run.journal, parallel, watching.progress, watching.stop)
        for cell in self.cells:
            watching.cell_began(cell)
            play_cell(self.study, cell, self.entrant(cell), table)
            note()

    def _deal_out(self, session: Session, note: Callable[[], object]) -> None:
        """Play unit by unit on the workers of a cluster; ``note`` is called now and then."""
        watching, journal = self.watching, self.run.journal
        parallel = self.study.config.parallel
        done = {row.episode: row for row in journal.episodes() if row.status == "done"}
        for spec in finished_units(self.cells, done):
            watching.progress.ended(spec.task, done[spec.episode])
        desk = Desk(journal, self.budget, parallel, watching.progress, watching.stop)
        units = list(units_of(self.cells, self.entrant, done, has_gpus=session.gpus > 0))
        Dealer(session, StudyWork(self.study.config), desk).play(units, note)

    def results(self) -> Results:
        """The finished runs of the journal with their conditions."""
        return collect(
            self.study, self.cells, self.entrants, self.run.journal, self.watching.conditions
        )

    def write(self, results: Results) -> None:
        """Write the tables."""
        finished = Finished.of(self.run.journal)
        write_results(self.run.path, results, list(episode_rows(self.cells, finished)))

    def _describe(self) -> None:
        """Note in the journal what its episodes are, for whoever reads the run."""
        scenes = scenes_of_cells(
            self.cells,
            lambda cell: self.study.environment(cell.game, self.entrant(cell).scene),
        )
        told = facts_of(self.study, self.entrants, self.lessons, self.watching.conditions)
        self.run.journal.set_meta(**scenes, study=told)


def evaluate(config: EvaluateConfig, watching: Watching | None = None) -> tuple[Path, Results]:
    """Play everything that is not played yet and write the tables, also when it ends early; the run folder and the results.

    Raises what the agents raise; the run can then be continued with the same configuration.
    """
    with Evaluation(config, watching) as evaluation:
        return evaluation.run.path, evaluation.play()


def entrants(
    study: Study, budget: Budget, opened: ExitStack, lessons: Mapping[tuple[str, str, str], int]
) -> Entrants:
    """Every agent of a study that plays here, under every condition, ready to play: of a shard those of its units only."""
    entry = Entry(defaults_of(study), budget, opened)
    playing = {cell.agent for cell in cells(study, lessons)}
    agents = [agent for agent in study.agents if agent.label in playing]
    variants = [variant for agent in agents for variant in study.variants(agent)]
    return {named(variant): entry.entrant(variant.agent) for variant in variants}


def lessons_of(study: Study) -> dict[tuple[str, str, str], int]:
    """How many training episodes each variant has; errors are those of options that no agent can have."""
    variants = [variant for agent in study.agents for variant in study.variants(agent)]
    found = {named(v): lessons_of_spec(v.agent, study.asking) for v in variants}
    return {name: lessons.episodes for name, lessons in found.items() if lessons is not None}


def check_games(
    study: Study, entrants: Entrants, lessons: Mapping[tuple[str, str, str], int]
) -> None:
    """Make every environment and every agent in it once; ``ConfigError`` names the agent and the game that do not fit."""
    checked: set[str] = set()
    with ExitStack() as opened:
        made: list[tuple[dict[str, Any], Env]] = []
        for cell in cells(study, lessons):
            entrant, spec = entrants[named(cell.variant)], cell.variant.agent
            try:
                env = _environment(study, cell, entrant, made, opened)
                _check(study, cell, entrant, env)
                if spec.kind == "own" and entrant.vlm is None and spec.label not in checked:
                    check_contract(spec, env)
            except ConfigError as error:
                raise ConfigError(f"{spec.label} on {cell.game.name}: {error}") from error
            checked.add(spec.label)


def _environment(
    study: Study,
    cell: Cell,
    entrant: Entrant,
    made: list[tuple[dict[str, Any], Env]],
    opened: ExitStack,
) -> Env:
    """The environment of a cell: the one that was made last, where it is the same."""
    settings = study.environment(cell.game, entrant.scene)
    if not made or made[-1][0] != settings:
        env = environment_maker(study, cell, entrant)()
        opened.callback(env.close)
        made.append((settings, env))
    return made[-1][1]


def _check(study: Study, cell: Cell, entrant: Entrant, env: Env) -> None:
    if entrant.vlm is not None:
        _check_shown(entrant.spec, cell.game.name, env.observation_space)
    paced(study, entrant.make(entrant.asked, env, ()), env)


def _check_shown(spec: AgentSpec, game: str, space: Any) -> None:
    parts = getattr(space, "spaces", {})
    if not {"image", "text", "action_space"} <= parts.keys():
        raise ConfigError(
            f"{spec.name} asks a model that is shown pictures; {game} shows none (a uint8 (H, W, 3) observation with Discrete "
            "actions)"
        )


def run_request(study: Study) -> RunRequest:
    """The run folder that is wanted."""
    config = study.config
    games = [game.name for game in study.games]
    label = [config.suite] if config.suite and config.games is None else games
    shard = study.shard
    part = [] if shard.is_whole else ["shard", f"{shard.number}-of-{shard.count}"]
    return RunRequest(
        save_dir=config.save_dir,
        label="-".join(["evaluate", *part, *label]),
        settings=settings_of(study),
        execution=execution_of(config),
        run_name=config.run_name,
        resume=config.resume,
        command=command_of(config),
        command_line=command_line(config),
        rules=ResumeRules(
            amounts=AMOUNTS if shard.is_whole else (),  # its units would be other ones
            defaults={"protocol": {"name": "standard", "version": 1}, "ablate": []},
        ),
    )


def _paid_replies(
    laid_out: Sequence[Cell], entrants: Entrants, journal: Journal
) -> Iterator[Mapping[str, Any]]:
    """What was paid for in the run's journal already."""
    for cell in laid_out:
        if entrants[named(cell.variant)].is_paid:
            for spec in cell.everything:
                for call in journal.calls(spec.episode):
                    if call.reply and call.paid:
                        yield call.reply

"""What ``atari_vlm.dream`` does: train a family's learner as its options say, evaluate, export."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from atari_vlm.errors import ConfigError, RunError, StoppedError
from atari_vlm.experience.episode_files import read_data_set
from atari_vlm.experience.episodes import DataSet, fill_replay
from atari_vlm.files import atomic_write
from atari_vlm.reporting.live.page import LivePage, live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.command_line import command_line, command_of
from atari_vlm.runs.continuing import ResumeRules
from atari_vlm.runs.progress import clock
from atari_vlm.runs.run_folder import RunFolder, RunRequest, existing_run, read_config
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.runs.trackers import LogConfig, check_installed
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.checkpoints import Checkpoints, actions_of
from atari_vlm.training.imagination.export import export_minari, export_npz
from atari_vlm.training.imagination.games import facts_of, own_spelling
from atari_vlm.training.imagination.options import ExportOptions, TrainOptions
from atari_vlm.training.imagination.remarks import remarks
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.families import family, load_part
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import OFFLINE, GameFacts, Metrics
from atari_vlm.world_models.learned.schedule import TrainingSettings
from atari_vlm.world_models.learned.team import device_of_rank, open_team, text_from_first

_SHOWN = (
    "return",
    "reconstruction",
    "tokens",
    "accuracy",
    "imagined_return",
    "loss",
    "seconds",
    "steps_per_second",
    "updates_per_second",
)


@dataclass(frozen=True)
class Plan:
    """What is to be trained: a run without its folder, the steps that an offline one begins with, and what its folder is
    asked for.
    """

    run: TrainingRun
    steps: DataSet | None
    request: RunRequest
    notes: tuple[str, ...] = ()


def train(options: TrainOptions, files: Mapping[str, str] | None = None) -> int:
    """``dream KIND``: train until the last epoch, or until a signal; returns the exit code.

    ``files`` are texts that are kept in the run's folder, by name.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    plan = plan_of(options)
    with (
        open_team() as team,
        stop_on_signals() as stop,
        live_page(options, here=team.rank == 0) as page,
    ):
        console = messages() if team.rank == 0 else Console(quiet=True)
        execution = {**plan.request.execution, "processes": team.size}
        request = dataclasses.replace(plan.request, execution=execution)
        folder = RunFolder.open(request, journal=False) if team.rank == 0 else None
        path = Path(text_from_first(team, str(folder.path) if folder is not None else ""))
        try:
            if folder is not None:
                _keep(path, files or {})
            for note in plan.notes:
                console.print(note)
            run = dataclasses.replace(plan.run, folder=path, stop=stop, team=team)
            located = dataclasses.replace(plan, run=run)
            code = _train(located, options.kind, (console, page), stop, folder)
            if folder is not None and code == 0:
                folder.finish()
        finally:
            if folder is not None:
                folder.close()
    return code


def _keep(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        if not (folder / name).exists():
            atomic_write(folder / name, text)


def plan_of(options: TrainOptions) -> Plan:
    """What the options ask for, those of a run that is continued below them. Nothing is written yet."""
    check_installed(LogConfig(options.log).trackers)
    device = Device(device_of_rank(options.device), options.precision)
    old = _Old.of(options)
    steps = (
        read_data_set(options.dataset) if options.dataset and not (old and old.checkpoint) else None
    )
    facts = _facts(options, old, steps)
    default, settings = _settings(options, facts, old)
    if steps is not None:
        settings = dataclasses.replace(settings, capacity=max(steps.num_steps + 1, 2))
    source = own_spelling(options.game) or (old.source if old else None) or str(options.dataset)
    request = RunRequest(
        save_dir=options.save_dir,
        label=f"{_label(source)}-{options.kind}",
        settings={options.kind: settings.as_dict(), "source": source, "seed": options.seed},
        execution={
            "device": options.device,
            "precision": options.precision,
            "threads": torch.get_num_threads(),
        },
        run_name=options.run_name,
        resume=options.resume,
        command=command_of(options),
        command_line=command_line(options),
        rules=ResumeRules(
            amounts=(f"{options.kind}.epochs",), defaults={options.kind: default.as_dict()}
        ),
    )
    shown = {"game": source, "preset": options.preset, "seed": options.seed, **settings.as_dict()}
    run = TrainingRun(
        Path(),
        facts,
        settings,
        options.seed,
        device,
        options.warm_start,
        options.warm_parts,
        log=LogConfig(options.log, shown),
    )
    return Plan(run, steps, request, old.notes() if old is not None else ())


@dataclass(frozen=True)
class _Old:
    """A run that is continued: its folder's ``config.yaml`` and, where it has one, its newest checkpoint."""

    config: dict[str, Any]
    checkpoint: Checkpoint | None

    @classmethod
    def of(cls, options: TrainOptions) -> _Old | None:
        """The run that ``--resume`` names, or ``--run-name`` if it is there already."""
        named = options.save_dir / (options.run_name or "")
        if options.resume is not None:
            folder = existing_run(options.save_dir, options.resume)
        elif options.run_name is not None and (named / "config.yaml").is_file():
            folder = existing_run(options.save_dir, options.run_name)
        else:
            return None
        config = read_config(folder)
        if options.kind not in config["settings"]:
            raise RunError(f"{folder} is not a run of `dream {options.kind}`")
        newest = Checkpoints(folder / "checkpoints").newest(lambda message: None)
        return cls(config, newest[1] if newest is not None else None)

    @property
    def source(self) -> str:
        """What it learns from."""
        return str(self.config["settings"]["source"])

    @property
    def words(self) -> list[str]:
        """The changes of constants that it was made with: its settings hold them."""
        command = self.config.get("command") or {}
        return [word for name in ("settings", "settings_of_file") for word in command.get(name, ())]

    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it was computed until now."""
        before, now = self.config.get("execution", {}).get("threads"), torch.get_num_threads()
        if before in (None, now):
            return ()
        return (
            f"until now with {before} CPU threads, from here on {now}: equal to the bit only with as many",
        )

    @property
    def preset(self) -> str:
        """The preset that it began with."""
        return str((self.config.get("command") or {}).get("preset") or "")


def _facts(options: TrainOptions, old: _Old | None, steps: DataSet | None) -> GameFacts:
    """Of the game, or of recorded steps; once a run has a checkpoint, its data set is not asked for any more."""
    if options.game:
        return facts_of(options.game, options.keys)
    if steps is not None:
        return GameFacts(
            OFFLINE, steps.inputs, steps.action_space, steps.action_names, steps.frame_skip
        )
    if old is None:
        raise ConfigError("either --game or --dataset says what to learn from")
    if old.checkpoint is None:
        raise ConfigError(f"the run has no checkpoint yet: give --dataset {old.source} again")
    checkpoint = old.checkpoint
    return GameFacts(
        OFFLINE,
        {},
        actions_of(checkpoint),
        checkpoint.action_names,
        checkpoint.config["frame_skip"],
    )


def _settings(
    options: TrainOptions, facts: GameFacts, old: _Old | None
) -> tuple[TrainingSettings, TrainingSettings]:
    """The preset, and the settings that are asked for: those of the run that is continued, and what is changed of them.

    A setting that the run's version did not know is the preset's.
    """
    preset = options.preset or (old.preset if old else "") or family(options.kind).presets[0]
    if old is not None and old.preset not in ("", preset):
        raise RunError(
            f"the run was made with the preset {old.preset}; leave --preset {preset} out"
        )
    default: TrainingSettings = load_part(options.kind, "settings")(preset, facts)
    settings = default
    if old is not None:
        recorded = old.config["settings"][options.kind]
        settings = with_changes(settings, recorded, "the settings of the run")
    settings = with_changes(settings, options.changes(old.words if old is not None else ()))
    epochs = options.epochs
    if options.total_steps is not None:
        epochs = -(-options.total_steps // settings.play.steps)
    if epochs is not None:
        settings = dataclasses.replace(settings, epochs=epochs)
    return default, settings


def _label(source: str) -> str:
    name = Path(source).stem if source.endswith(".npz") else source
    return name.rsplit(":")[-1].rsplit("/")[-1].removesuffix("-v5")


@contextlib.contextmanager
def taken_back(folder: RunFolder | None) -> Iterator[None]:
    """What is refused before it begins leaves no new run behind, which a mended command would contradict."""
    try:
        yield
    except BaseException:
        if folder is not None:
            folder.discard()
        raise


def _train(
    plan: Plan, kind: str, shown_on: tuple[Console, LivePage], stop: Stop, folder: RunFolder | None
) -> int:
    (console, page), epochs = shown_on, plan.run.settings.epochs
    bars = Bars(console)
    page.expect(Expected(epochs, "epochs", plan.run.folder.name))

    def show(epoch: int, metrics: Metrics) -> None:
        page.measured(epoch, _shown(metrics))
        _show(console, epochs, epoch, metrics)

    run = dataclasses.replace(plan.run, progress=page.beside(bars), report=show)
    with taken_back(folder):
        trainer = WorldModelTrainer(run, load_part(kind, "learner"))
        if plan.steps is not None and trainer.epoch == 0:
            fill_replay(trainer.replay, plan.steps)
    try:
        if trainer.epoch:
            console.print(f"continuing {run.folder} after epoch {trainer.epoch}")
        for remark in remarks(trainer):
            console.print(remark)
        with bars:
            trainer.train()
        page.finish()
    except StoppedError as stopped:
        trainer.save_model()
        console.print(f"{stopped}; the model of now is {run.folder / 'model'}")
        return stop.exit_code
    finally:
        trainer.close()
    model = run.folder / "model"
    console.print(f"model: {model}; python -m atari_vlm.dream eval {model}")
    return 0


def _shown(metrics: Metrics) -> Metrics:
    return {name: value for name, value in metrics.items() if name.split("/")[1] in _SHOWN}


def _show(console: Console, epochs: int, epoch: int, metrics: Metrics) -> None:
    told = [f"{name} {value:.4g}" for name, value in _shown(metrics).items()]
    if epoch < epochs:
        least = (
            "more than " if metrics["run/stages_waiting"] else ""
        )  # what waits is slower than play
        told.append(f"{least}{clock(metrics['run/seconds_left'])} left")
    console.print(f"epoch {epoch}/{epochs}: {', '.join(told)}")


def export(options: ExportOptions) -> int:
    """``dream export``: a run's replay as a data set."""
    options.check()
    run = existing_run(options.save_dir, options.run)
    if options.out is not None:
        count = export_npz(run, options.out)
    else:
        assert options.minari is not None
        count = export_minari(run, options.minari)
    results().print(f"{count} steps of {run} are in {options.out or options.minari}")
    return 0

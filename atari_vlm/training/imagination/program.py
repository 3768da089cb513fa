"""What ``atari_vlm.dream`` does: train a family's learner as its options say, evaluate, export."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from atari_vlm.errors import ConfigError, MismatchError, StoppedError, check_positive
from atari_vlm.experience.episode_files import read_data_set
from atari_vlm.experience.episodes import DataSet, Episode, fill_replay
from atari_vlm.runs.progress import Bars, stage
from atari_vlm.runs.run_folder import RunFolder, RunRequest, existing_run, read_config
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.trackers import LogConfig, check_installed
from atari_vlm.scores.statistics import aggregate
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.collection import (
    EpisodeKeeper,
    Playing,
    Returns,
    Step,
    play_games,
)
from atari_vlm.training.imagination.evaluation import GAMES, STEPS, imagined_returns
from atari_vlm.training.imagination.export import export_minari, export_npz
from atari_vlm.training.imagination.games import GameConfig, facts_of, make_game
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer
from atari_vlm.world_models.checkpoint import build_model, read_checkpoint
from atari_vlm.world_models.families import load_part
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.imagination import DreamConfig
from atari_vlm.world_models.learned.learner import OFFLINE, GameFacts, Metrics, Policy
from atari_vlm.world_models.learned.team import device_of_rank, joined, text_from_first
from atari_vlm.yaml_files import read_yaml

_SHOWN = ("return", "reconstruction", "tokens", "accuracy", "imagined_return", "seconds")


def train(line: Any, kind: str = "rem") -> int:
    """``dream KIND``: train until the last epoch, or until a signal; returns the exit code."""
    if line.resume is not None:
        line = _recorded(line)
    if bool(line.game) == bool(line.dataset):
        raise ConfigError("either --game or --dataset says what to learn from")
    if line.threads is not None:
        check_positive(threads=line.threads)
        torch.set_num_threads(line.threads)
    run, steps = _prepare(line, kind)
    with joined() as team, stop_on_signals() as stop:
        console = Console(stderr=True, soft_wrap=True, highlight=False, quiet=team.rank > 0)
        request = _request(line, kind, run, team.size)
        folder = RunFolder.open(request, journal=False) if team.rank == 0 else None
        path = Path(text_from_first(team, str(folder.path) if folder is not None else ""))
        try:
            run = dataclasses.replace(run, folder=path, stop=stop, team=team)
            code = _train(run, kind, steps, (console, stop))
            if folder is not None and code == 0:
                folder.finish()
        finally:
            if folder is not None:
                folder.close()
    return code


def _request(line: Any, kind: str, run: TrainingRun, processes: int) -> RunRequest:
    name = (line.game or Path(line.dataset).stem).rsplit(":")[-1].rsplit("/")[-1]
    execution = {"device": line.device, "precision": line.precision, "processes": processes}
    return RunRequest(
        save_dir=line.save_dir,
        label=f"{name.removesuffix('-v5')}-{kind}",
        settings={
            kind: run.settings.as_dict(),
            "source": line.game or line.dataset,
            "seed": line.seed,
        },
        execution={**execution, "threads": torch.get_num_threads()},
        run_name=line.run_name,
        resume=line.resume,
        command=_command(line),
    )


def _train(run: TrainingRun, kind: str, steps: DataSet | None, watching: tuple[Console, Stop]) -> int:
    console, stop = watching
    bars = Bars(console)
    show = functools.partial(_show, console, run.settings.epochs)
    run = dataclasses.replace(run, progress=bars, report=show)
    trainer = WorldModelTrainer(run, load_part(kind, "learner"))
    if steps is not None and trainer.epoch == 0:
        fill_replay(trainer.replay, steps)
    try:
        if trainer.epoch:
            console.print(f"continuing {run.folder} after epoch {trainer.epoch}")
        with bars:
            trainer.train()
    except StoppedError as stopped:
        console.print(str(stopped))
        return stop.exit_code
    finally:
        trainer.close()
    model = run.folder / "model"
    console.print(f"model: {model}; python -m atari_vlm.dream eval {model}")
    return 0


def _prepare(line: Any, kind: str) -> tuple[TrainingRun, DataSet | None]:
    """The run's settings, and the steps of a dataset if it learns from one."""
    check_installed(LogConfig(tuple(line.log)).trackers)
    file = read_yaml(line.config, what=f"--config {line.config}") if line.config is not None else {}
    changes = file.get("settings", {})
    device = Device(device_of_rank(line.device), line.precision)
    steps = read_data_set(line.dataset) if line.dataset else None
    facts = _facts(steps) if steps is not None else facts_of(line.game)
    settings = with_changes(load_part(kind, "settings")(line.preset, facts), changes)
    if line.epochs is not None:
        settings = dataclasses.replace(settings, epochs=line.epochs)
    if steps is not None:
        settings = dataclasses.replace(settings, capacity=max(steps.num_steps + 1, 2))
    shown = {"game": line.game or line.dataset, "preset": line.preset, "seed": line.seed}
    log = LogConfig(tuple(line.log), {**shown, **settings.as_dict()})
    warm = {"warm_start": line.warm_start, "warm_parts": tuple(line.warm_parts)}
    return TrainingRun(Path(), facts, settings, line.seed, device, log=log, **warm), steps


def _facts(steps: DataSet) -> GameFacts:
    """Of recorded steps."""
    return GameFacts(OFFLINE, steps.inputs, steps.action_space, steps.action_names)


def _command(line: Any) -> dict[str, Any]:
    """What ``--resume`` needs to put the same run together again."""
    options = {item.name: getattr(line, item.name) for item in dataclasses.fields(line)}
    kept = {name: value for name, value in options.items() if name not in ("resume", "save_dir", "run_name")}
    return {name: str(value) if isinstance(value, Path) else value for name, value in kept.items() if value is not None}


def _recorded(line: Any) -> Any:
    """The options of the run that is resumed; where and how it is computed may change."""
    recorded = read_config(existing_run(line.save_dir, line.resume)).get("command") or {}
    known = {item.name for item in dataclasses.fields(line)}
    values = {name: value for name, value in recorded.items() if name in known}
    for name, kind in (("config", Path), ("warm_parts", tuple), ("log", tuple)):
        if name in values:
            values[name] = kind(values[name])
    chosen = {name: getattr(line, name) for name in ("device", "precision", "threads", "log")}
    defaults = type(line)()
    moved = {name: value for name, value in chosen.items() if value != getattr(defaults, name)}
    return dataclasses.replace(line, **{**values, **moved})


def _show(console: Console, epochs: int, epoch: int, metrics: Metrics) -> None:
    parts = [f"{name} {value:.4g}" for name, value in metrics.items() if name.split("/")[1] in _SHOWN]
    console.print(f"epoch {epoch}/{epochs}: {', '.join(parts)}")


def evaluate(line: Any) -> int:
    """``dream eval``: real games with a trained player, and the same in its dream of these games."""
    check_positive(episodes=line.episodes, max_steps=line.max_steps)
    dreaming = DreamConfig(line.imagine_steps, line.temperature, line.imagine_temperature)
    checkpoint, device = read_checkpoint(line.model), Device(line.device)
    policy: Policy[Any] = load_part(checkpoint.kind, "policy")(checkpoint, device.name)
    game = line.game or str(checkpoint.config.get("game", OFFLINE))
    if game == OFFLINE:
        raise ConfigError(f"{line.model} learned from recorded steps; give --game to play one")
    keys = tuple(checkpoint.config.get("keys", ()))
    config = GameConfig(game, checkpoint.config["frame_skip"], 1, line.max_steps, keys)
    _check_game(config, policy)
    returns, played = _play(line, config, policy)
    options = {"device": device.name, "temperature": dreaming.world_temperature}
    model = build_model(checkpoint, line.model, **options)
    generator = torch.Generator(device.name).manual_seed(line.seed)
    dreamed = imagined_returns(policy, model, played, dreaming, generator)  # type: ignore[arg-type]
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"{game}: mean return {_estimate(returns.returns)} (95 %, {len(returns.returns)} episodes, "
        f"temperature {line.temperature:g}, seed {line.seed}, max {line.max_steps} steps)"
    )
    if dreamed:
        signs = " (rewards by sign)" if model.reward_transform == "sign" else ""
        console.print(
            f"in its dream of the first {len(played)} games, {line.imagine_steps} steps at most, "
            f"temperature {line.imagine_temperature:g}: mean return "
            f"{dreamed['imagined_return']:.4g} in {dreamed['imagined_length']:.4g} steps; really "
            f"{dreamed['matched_return']:.4g} in {dreamed['matched_length']:.4g} steps{signs}"
        )
    return 0


def _check_game(config: GameConfig, policy: Policy[Any]) -> None:
    probe = make_game(config, policy.inputs)
    probe.close()
    if probe.action_space != policy.action_space:
        spaces = f"{config.game} acts with {probe.action_space}, the model with"
        raise MismatchError(f"{spaces} {policy.action_space}")


def _play(line: Any, config: GameConfig, policy: Policy[Any]) -> tuple[Returns, list[Episode]]:
    """Real games, with a progress bar; the beginnings of the first ones are kept."""
    bars = Bars(Console(stderr=True, soft_wrap=True, highlight=False))
    keeper = EpisodeKeeper(GAMES, max(STEPS, line.imagine_steps + 1))

    def see(row: int, step: Step) -> None:
        keeper.see(row, step)
        if step.over:
            bars.advanced()

    generator = torch.Generator(line.device).manual_seed(line.seed)
    seeds = [eval_seed(line.seed, index) for index in range(line.episodes)]
    with bars, stage(bars, "evaluation", line.episodes, "games", (1, 1)):
        playing = Playing(generator, line.temperature, watch=see)
        returns = play_games(lambda: make_game(config, policy.inputs), policy, seeds, playing)
    return returns, keeper.episodes()


def _estimate(returns: list[float]) -> str:
    """``mean [low, high]``: the bootstrap's interval; none for a single episode."""
    if len(returns) < 2:
        return f"{returns[0]:.4g} [no interval of one episode]"
    estimate = aggregate(np.array(returns)[:, None], "mean")
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def export(line: Any) -> int:
    """``dream export``: a run's replay as a data set."""
    if (line.out is None) == (line.minari is None):
        raise ConfigError("either --out FILE.npz or --minari ID says where the steps go")
    run = existing_run(line.save_dir, line.run)
    count = export_npz(run, line.out) if line.out is not None else export_minari(run, line.minari)
    Console(highlight=False, soft_wrap=True).print(f"{count} steps of {run} are in {line.out or line.minari}")
    return 0

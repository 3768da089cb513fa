"""What ``atari_vlm.dream`` does: put a REM run together from its options, and evaluate a trained one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from atari_vlm.errors import CheckpointError, ConfigError, StoppedError, check_positive
from atari_vlm.experience.episode_files import fill_replay, load_steps
from atari_vlm.experience.episodes import RemEpisode
from atari_vlm.runs.progress import Bars, stage
from atari_vlm.runs.run_folder import RunFolder, RunRequest, existing_run, read_config
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.runs.stopping import Stop, stop_on_signals
from atari_vlm.runs.trackers import LogConfig, check_installed
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.collection import EpisodeKeeper, Playing, Returns, Seen, play_games
from atari_vlm.training.imagination.evaluation import GAMES, STEPS, imagined_returns
from atari_vlm.training.imagination.export import export_minari, export_npz
from atari_vlm.training.imagination.games import GameConfig, RemGame
from atari_vlm.training.imagination.trainer import RemRun, RemTrainer
from atari_vlm.world_models.checkpoint import read_checkpoint
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.dreams import DreamConfig
from atari_vlm.world_models.learned.learner import Metrics
from atari_vlm.world_models.learned.team import device_of_rank, joined, text_from_first
from atari_vlm.world_models.rem.model import load, load_policy
from atari_vlm.world_models.rem.networks import Networks
from atari_vlm.world_models.rem.policy import RemPolicy
from atari_vlm.world_models.rem.settings import RemSettings, preset
from atari_vlm.yaml_files import read_yaml

_SHOWN = ("return", "reconstruction", "tokens", "accuracy", "imagined_return", "seconds")


def train(line: Any) -> int:
    """``dream rem``: train until the last epoch, or until a signal; returns the exit code."""
    if line.resume is not None:
        line = _recorded(line)
    if bool(line.game) == bool(line.dataset):
        raise ConfigError("either --game or --dataset says what to learn from")
    if line.threads is not None:
        check_positive(threads=line.threads)
        torch.set_num_threads(line.threads)
    run, steps = _prepare(line)
    with joined() as team, stop_on_signals() as stop:
        console = Console(stderr=True, soft_wrap=True, highlight=False, quiet=team.rank > 0)
        folder = RunFolder.open(_request(line, run, team.size), journal=False) if team.rank == 0 else None
        path = Path(text_from_first(team, str(folder.path) if folder is not None else ""))
        try:
            run = dataclasses.replace(run, folder=path, stop=stop, team=team)
            code = _train(run, steps, (console, stop))
            if folder is not None and code == 0:
                folder.finish()
        finally:
            if folder is not None:
                folder.close()
    return code


def _request(line: Any, run: RemRun, processes: int) -> RunRequest:
    return RunRequest(
        save_dir=line.save_dir,
        label=f"{(line.game or Path(line.dataset).stem).rsplit(':')[-1].rsplit('/')[-1].removesuffix('-v5')}-rem",
        settings={"rem": run.settings.as_dict(), "source": line.game or line.dataset, "seed": line.seed},
        execution={"device": line.device, "precision": line.precision, "processes": processes},
        run_name=line.run_name,
        resume=line.resume,
        command=_command(line),
    )


def _train(run: RemRun, steps: Any, watching: tuple[Console, Stop]) -> int:
    console, stop = watching
    bars = Bars(console)
    run = dataclasses.replace(run, progress=bars, report=lambda epoch, found: _show(console, run, epoch, found))
    trainer = RemTrainer(run)
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
    console.print(f"model: {run.folder / 'model'}; python -m atari_vlm.dream eval {run.folder / 'model'}")
    return 0


def _prepare(line: Any) -> tuple[RemRun, Any]:
    """The run's settings, and the steps of a dataset if it learns from one."""
    check_installed(LogConfig(tuple(line.log)).trackers)
    changes = (
        read_yaml(line.config, what=f"--config {line.config}").get("settings", {}) if line.config is not None else {}
    )
    device = Device(device_of_rank(line.device), line.precision)
    steps = load_steps(line.dataset) if line.dataset else None
    if steps is not None:
        num_actions, names = steps.num_actions, steps.action_names
    else:
        game = RemGame(GameConfig(line.game))
        num_actions, names = game.num_actions, game.action_names
        game.close()
    settings: RemSettings = with_changes(preset(line.preset, num_actions), changes)
    if line.epochs is not None:
        settings = dataclasses.replace(settings, epochs=line.epochs)
    if steps is not None:
        settings = dataclasses.replace(settings, capacity=max(len(steps.actions) + 1, 2))
    warm = line.warm_start
    shown = {"game": line.game or line.dataset, "preset": line.preset, "seed": line.seed, **settings.as_dict()}
    run = RemRun(Path(), line.game or None, settings, line.seed, device, warm, tuple(line.warm_parts), names)
    return dataclasses.replace(run, log=LogConfig(tuple(line.log), shown)), steps


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


def _show(console: Console, run: RemRun, epoch: int, found: Metrics) -> None:
    parts = [f"{name} {value:.4g}" for name, value in found.items() if name.split("/")[1] in _SHOWN]
    console.print(f"epoch {epoch}/{run.settings.epochs}: {', '.join(parts)}")


def evaluate(line: Any) -> int:
    """``dream eval``: real games with a trained REM, and the same player in its dream of the same games."""
    check_positive(episodes=line.episodes, max_steps=line.max_steps)
    dreaming = DreamConfig(line.imagine_steps, line.temperature, line.imagine_temperature)
    checkpoint = read_checkpoint(line.model)
    if checkpoint.kind != "rem":
        raise CheckpointError(f"{line.model} holds a {checkpoint.kind} model, not a REM")
    game, policy = line.game or str(checkpoint.config["game"]), load_policy(checkpoint, line.device)
    config = GameConfig(
        game, policy.inputs["image"].shape[0], checkpoint.config["frame_skip"], 1, False, line.max_steps
    )
    probe = RemGame(config)
    probe.close()
    if probe.num_actions != policy.action_space.n:
        raise ConfigError(f"{game} has {probe.num_actions} actions, the model {policy.action_space.n}")
    found, played = _play(line, config, policy)
    world = load(checkpoint, device=line.device).network
    networks = Networks(policy.tokenizer, world, policy.actor)
    dreamed = imagined_returns(networks, played, dreaming, torch.Generator(line.device).manual_seed(line.seed))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"{game}: mean return {_interval(found.returns)} (95 %, {len(found.returns)} episodes, temperature "
        f"{line.temperature:g}, seed {line.seed}, max {line.max_steps} steps)"
    )
    if dreamed:
        console.print(
            f"in its dream of the first {len(played)} games, {line.imagine_steps} steps at most, temperature "
            f"{line.imagine_temperature:g}: mean return {dreamed['imagined_return']:.4g} in "
            f"{dreamed['imagined_length']:.4g} steps; really {dreamed['matched_return']:.4g} in "
            f"{dreamed['matched_length']:.4g} steps{' (rewards by sign)' if world.config.reward == 'sign' else ''}"
        )
    return 0


def _play(line: Any, config: GameConfig, policy: RemPolicy) -> tuple[Returns, list[RemEpisode]]:
    """Real games, with a progress bar; the beginnings of the first ones are kept."""
    bars = Bars(Console(stderr=True, soft_wrap=True, highlight=False))
    keeper = EpisodeKeeper(GAMES, max(STEPS, line.imagine_steps + 1))

    def see(seen: Seen) -> None:
        keeper.see(seen)
        if seen.over:
            bars.advanced()

    generator = torch.Generator(line.device).manual_seed(line.seed)
    seeds = [eval_seed(line.seed, index) for index in range(line.episodes)]
    with bars, stage(bars, "evaluation", line.episodes, "games", (1, 1)):
        playing = Playing(generator, line.temperature, watch=see)
        found = play_games(lambda: RemGame(config), policy, seeds, playing)
    return found, keeper.episodes()


def _interval(returns: list[float]) -> str:
    """``mean [low, high]`` with the normal 95 % interval of the mean; undefined (nan) for one episode."""
    mean, deviation = float(np.mean(returns)), float(np.std(returns, ddof=1)) if len(returns) > 1 else float("nan")
    half = 1.96 * deviation / len(returns) ** 0.5
    return f"{mean:.4g} [{mean - half:.4g}, {mean + half:.4g}]"


def export(line: Any) -> int:
    """``dream export``: a run's replay as a data set."""
    if (line.out is None) == (line.minari is None):
        raise ConfigError("either --out FILE.npz or --minari ID says where the steps go")
    run = existing_run(line.save_dir, line.run)
    count = export_npz(run, line.out) if line.out is not None else export_minari(run, line.minari)
    Console(highlight=False, soft_wrap=True).print(f"{count} steps of {run} are in {line.out or line.minari}")
    return 0

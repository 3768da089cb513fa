"""What ``tune sft`` does: from options to a run."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import torch

from atari_vlm.errors import ConfigError, StoppedError
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.command_line import command_line, command_of
from atari_vlm.runs.game_names import GameSpec, parse_games
from atari_vlm.runs.run_folder import RunRequest
from atari_vlm.runs.trackers import LogConfig
from atari_vlm.settings import flat
from atari_vlm.training.tuning.bases import Base, check_family, check_new, load_base
from atari_vlm.training.tuning.learner import Method, UpdateConfig
from atari_vlm.training.tuning.lessons import TeachingConfig
from atari_vlm.training.tuning.memory import (
    ANSWER_TOKENS,
    WORD_TOKENS,
    TrainingLoad,
    largest_picture,
)
from atari_vlm.training.tuning.options import TuneOptions
from atari_vlm.training.tuning.running import Place, TimeLimit, in_run_folder
from atari_vlm.training.tuning.sft import ImitationTrainer, Lessons, TuningRun
from atari_vlm.training.tuning.sources import frames_of, played_episodes
from atari_vlm.vlm.local.adapter import AdapterCard, prompt_version_of
from atari_vlm.vlm.local.tiny.player import NEW

_RATES: dict[str, float] = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}
_RATE_OF_NEW = 1e-3


def tune(options: TuneOptions) -> int:
    """``tune sft``: train until the last update, or until a signal; returns the exit code."""
    options.check()
    check_family(options.base)
    check_new(options.base, options.model)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    games = parse_games(options.game)
    method, updates, teaching = _method(options), update_config(options), _teaching(options)
    request = _request(options, games, (method, updates, teaching))
    return in_run_folder(request, functools.partial(_train, options, games))


def update_config(options: TuneOptions) -> UpdateConfig:
    """How weights are changed, with the learning rate that is left open."""
    method = _method(options)
    usual = _RATE_OF_NEW if options.model == NEW else _RATES[method]
    return UpdateConfig(
        updates=options.updates,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate or usual,
        rank=options.rank,
        micro_batch=options.micro_batch,
        gradient_checkpointing=options.gradient_checkpointing,
        balance=options.balance,
        reasoning=float(options.reasoning),
    )


def _method(options: TuneOptions) -> Method:
    if options.method == "auto":
        return "full" if options.model == NEW else "lora"
    if options.model == NEW and options.method == "qlora":
        raise ConfigError("a model from nothing has no weights worth 4 bits: --method full or lora")
    return options.method


def _teaching(options: TuneOptions) -> TeachingConfig:
    names = (
        "prompt_type",
        "frames",
        "episodes",
        "held_out",
        "max_steps",
        "explore",
        "best",
        "thin",
    )
    chosen = {name: getattr(options, name) for name in names}
    return TeachingConfig(**chosen, seed=options.seed)


def _request(
    options: TuneOptions,
    games: list[GameSpec],
    parts: tuple[Method, UpdateConfig, TeachingConfig],
) -> RunRequest:
    method, updates, teaching = parts
    changing = ("micro_batch", "gradient_checkpointing")
    kept = {k: v for k, v in dataclasses.asdict(updates).items() if k not in changing}
    settings: dict[str, Any] = {
        "program": TuneOptions.program,
        "base": options.base,
        "model": options.model,
        "games": [game.text for game in games],
        "source": options.source,
        "method": method,
        "update": kept,
        "teaching": dataclasses.asdict(teaching),
        "eval_every": options.eval_every,
        "seed": options.seed,
    }
    execution = {
        "device": options.device,
        "dtype": options.dtype,
        "threads": torch.get_num_threads(),
        **{name: getattr(updates, name) for name in changing},
    }
    title = games[0].name.rpartition(":")[2].rpartition("/")[2]
    return RunRequest(
        save_dir=options.save_dir,
        label=f"{options.base}-{title}-sft",
        settings=settings,
        execution=execution,
        run_name=options.run_name,
        resume=options.resume,
        command=command_of(options),
        command_line=command_line(options),
    )


def _train(options: TuneOptions, games: list[GameSpec], place: Place) -> int:
    path, console, bars = place.path, place.console, Bars(place.console)
    limit = TimeLimit(options.max_minutes, place.team)
    try:
        base = _base(options, place, games)
        console.print(
            f"the teacher ({options.source}) plays {', '.join(g.name for g in games)} ..."
        )
        lessons = Lessons.of(list(played_episodes(options.source, games, _teaching(options))))
        if options.reasoning and not any(decision.reasoning for decision in lessons.taught):
            raise ConfigError(
                f"the teacher {options.source} wrote nothing before its answers: leave --reasoning out"
            )
        run = TuningRun(
            folder=path,
            base=base,
            lessons=lessons,
            method=_method(options),
            config=update_config(options),
            card=card_of(options, base, games),
            seed=options.seed,
            eval_every=options.eval_every,
            stop=place.stop,
            limit=limit,
            progress=bars,
            log=LogConfig(options.log, flat(dataclasses.asdict(_teaching(options)))),
            team=place.team,
        )
        trainer = ImitationTrainer(run)
    except BaseException:
        place.discard()
        raise
    console.print(
        f"{len(lessons.taught)} decisions of {lessons.episodes[0]} episodes to learn from, {len(lessons.held_out)} of "
        f"{lessons.episodes[1]} held out"
    )
    try:
        with bars:
            results = trainer.train()
    except StoppedError as stopped:
        console.print(str(stopped))
        return place.stop.exit_code
    console.print(
        f"held-out accuracy {results['held_out_accuracy']:.4f}; adapter: {path / 'adapter'}; play with it: "
        f"--vlm {base.family} --model {_shown_model(base, path)} --adapter {path / 'adapter'} --prompt-type {options.prompt_type}"
    )
    return 0


def _base(options: TuneOptions, place: Place, games: list[GameSpec]) -> Base:
    """The base; one from nothing is written into the run."""
    each = -(-options.batch_size // place.team.size)
    load = TrainingLoad(
        _method(options),
        min(options.micro_batch or each, each),
        _pictures(options),
        largest_picture(games),
        options.rank,
        options.gradient_checkpointing,
        flags="--micro-batch",
        answer_tokens=ANSWER_TOKENS + WORD_TOKENS * options.reasoning,
    )
    folder = place.new_base(options.seed) if options.model == NEW else None
    return load_base(options.base, options.model, place.local(options.local()), folder, load)


def _pictures(options: TuneOptions) -> int:
    """Of a question; what is no source is refused where it is read."""
    if not Path(options.source).is_dir():
        return options.frames
    return frames_of(options.source, _teaching(options))


def _shown_model(base: Base, path: Path) -> str:
    return str(path / "base") if base.model == NEW else base.model


def card_of(options: TuneOptions, base: Base, games: list[GameSpec]) -> AdapterCard:
    """What the adapter belongs to."""
    return AdapterCard(
        base=base.family,
        model=base.model,
        model_type=base.model_type,
        weights=base.weights,
        prompt_type=options.prompt_type,
        prompt_version=prompt_version_of(options.prompt_type),
        games=tuple(game.text for game in games),
        seed=options.seed,
        frames=frames_of(options.source, _teaching(options)),
        method=_method(options),
        source=options.source,
    )

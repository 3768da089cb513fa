"""What ``tune rl`` does: from options to a run."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch

from atari_vlm.errors import ConfigError, StoppedError
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.command_line import command_line, command_of
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import GameSpec, parse_games
from atari_vlm.runs.run_folder import RunRequest
from atari_vlm.runs.trackers import LogConfig, check_installed
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.bases import Base, check_family, check_new, load_base
from atari_vlm.training.tuning.learner import Method, UpdateConfig
from atari_vlm.training.tuning.memory import (
    ANSWER_TOKENS,
    TrainingLoad,
    largest_picture,
    tokens_with_thoughts,
)
from atari_vlm.training.tuning.options import ReinforceOptions
from atari_vlm.training.tuning.ppo import PPOConfig
from atari_vlm.training.tuning.rl import ReinforcementRun, ReinforcementTrainer
from atari_vlm.training.tuning.running import Place, TimeLimit, in_run_folder
from atari_vlm.training.tuning.thoughts import ThinkingConfig
from atari_vlm.training.tuning.turns import PlayedGame
from atari_vlm.vlm.local.adapter import (
    SCORED,
    THOUGHTS,
    Adapter,
    AdapterCard,
    check_base,
    prompt_version_of,
    read_adapter,
)
from atari_vlm.vlm.local.tiny.player import NEW


def reinforce(options: ReinforceOptions) -> int:
    """``tune rl``: train until the last iteration, or until a signal; returns the exit code."""
    check_installed(options.log)
    check_family(options.base)
    check_new(options.base, options.model)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    games = parse_games(options.game)
    if options.envs < len(games):
        raise ConfigError(
            f"--envs {options.envs} is fewer than the {len(games)} games, which are played side by side"
        )
    start = None if options.adapter is None else read_adapter(options.adapter)
    request = _request(options, games, start)
    return in_run_folder(request, functools.partial(_train, options, (games, start)))


def ppo_config(options: ReinforceOptions) -> PPOConfig:
    """The constants of an iteration."""
    names = (
        "envs",
        "steps",
        "epochs",
        "minibatch",
        "discount",
        "clip",
        "entropy",
        "kl",
        "value_warm_up",
    )
    return PPOConfig(**{name: getattr(options, name) for name in names})


def thinking_config(options: ReinforceOptions) -> ThinkingConfig | None:
    """How it thinks, ``None`` where nothing is written."""
    if not options.reasoning:
        return None
    return ThinkingConfig(options.reasoning_tokens, options.state_reward)


def _updates(options: ReinforceOptions) -> UpdateConfig:
    ppo = ppo_config(options)
    each = -(-ppo.envs * ppo.steps // ppo.minibatch) * ppo.epochs
    return UpdateConfig(
        updates=each * options.iterations,
        batch_size=ppo.minibatch,
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        rank=options.rank,
        gradient_checkpointing=options.gradient_checkpointing,
    )


def _method(options: ReinforceOptions, start: Adapter | None) -> Method:
    usual: Any = "full" if options.model == NEW else "lora"
    if start is not None:
        usual = start.card.method
    if options.method not in ("auto", usual) and start is not None:
        raise ConfigError(
            f"the adapter {start.folder} is of the method {usual}; leave --method {options.method} out"
        )
    chosen: Method = usual if options.method == "auto" else options.method
    return chosen


def _request(options: ReinforceOptions, games: list[GameSpec], start: Adapter | None) -> RunRequest:
    settings: dict[str, Any] = {
        "program": ReinforceOptions.program,
        "base": options.base,
        "model": options.model,
        "adapter": None if start is None else start.digest,
        "games": [game.text for game in games],
        "prompt_type": options.prompt_type,
        "frames": options.frames,
        "max_steps": options.max_steps,
        "method": _method(options, start),
        "ppo": dataclasses.asdict(ppo_config(options)),
        "iterations": options.iterations,
        "learning_rate": options.learning_rate,
        "rank": options.rank,
        "eval_every": options.eval_every,
        "eval_episodes": options.eval_episodes,
        "seed": options.seed,
    }
    if (thinking := thinking_config(options)) is not None:
        settings["thinking"] = dataclasses.asdict(thinking)
    title = games[0].name.rpartition(":")[2].rpartition("/")[2]
    return RunRequest(
        save_dir=options.save_dir,
        label=f"{options.base}-{title}-rl",
        settings=settings,
        execution={
            "device": options.device,
            "dtype": options.dtype,
            "threads": torch.get_num_threads(),
            "gradient_checkpointing": options.gradient_checkpointing,
        },
        run_name=options.run_name,
        resume=options.resume,
        command=command_of(options),
        command_line=command_line(options),
    )


def _train(
    options: ReinforceOptions,
    what: tuple[list[GameSpec], Adapter | None],
    place: Place,
) -> int:
    path, bars, (games, start) = place.path, Bars(place.console), what
    limit = TimeLimit(options.max_minutes, place.team)
    try:
        base = _base(options, place, games, start)
        trainer = ReinforcementTrainer(
            ReinforcementRun(
                folder=path,
                base=base,
                method=_method(options, start),
                config=_updates(options),
                ppo=ppo_config(options),
                card=_card(options, base, games, start),
                games=tuple(
                    PlayedGame(game.text, functools.partial(_made, game)) for game in games
                ),
                iterations=options.iterations,
                max_steps=options.max_steps,
                start=start,
                seed=options.seed,
                eval_every=options.eval_every,
                eval_episodes=options.eval_episodes,
                stop=place.stop,
                limit=limit,
                progress=bars,
                log=LogConfig(options.log, dataclasses.asdict(ppo_config(options))),
                team=place.team,
                thinking=thinking_config(options),
            )
        )
    except BaseException:
        place.discard()
        raise
    try:
        with bars:
            results = trainer.train()
    except StoppedError as stopped:
        place.console.print(str(stopped))
        return place.stop.exit_code
    finally:
        trainer.close()
    thinking = thinking_config(options)
    learned = "" if thinking is None else f" (learned with {thinking.in_words})"
    place.console.print(
        f"mean return of {results['evaluation_episodes']} evaluation episodes {results['return']:.3f}{learned}; "
        f"adapter: {path / 'adapter'}"
    )
    return 0


def _made(game: GameSpec) -> Env:
    return make_env({"game_name": game.name, "env": dict(game.options)})


def _base(
    options: ReinforceOptions, place: Place, games: list[GameSpec], start: Adapter | None
) -> Base:
    """The base, checked against the adapter; one from nothing is written into the run, of the adapter's seed if there is one."""
    folder = None
    if options.model == NEW:
        seed = options.seed if start is None else start.card.seed
        folder = place.new_base(seed)
    thinking = thinking_config(options)
    load = TrainingLoad(
        _method(options, start),
        -(-min(options.minibatch, options.envs * options.steps) // place.team.size),
        options.frames,
        largest_picture(games),
        options.rank,
        options.gradient_checkpointing,
        flags="--minibatch",
        answer_tokens=tokens_with_thoughts(games, thinking.tokens) if thinking else ANSWER_TOKENS,
    )
    base = load_base(options.base, options.model, place.local(options.local()), folder, load)
    if start is not None:
        check_base(start, base.family, base.model, base.folder, base.model_type)
    return base


def _card(
    options: ReinforceOptions, base: Base, games: list[GameSpec], start: Adapter | None
) -> AdapterCard:
    thinking = thinking_config(options)
    learned = "" if thinking is None else f" with {thinking.in_words}"
    return AdapterCard(
        base=base.family,
        model=base.model,
        model_type=base.model_type,
        weights=base.weights,
        prompt_type=options.prompt_type,
        prompt_version=prompt_version_of(options.prompt_type),
        games=tuple(game.text for game in games),
        seed=options.seed if start is None or options.model != NEW else start.card.seed,
        frames=options.frames,
        method=_method(options, start),
        source=f"reinforcement{learned}"
        + (f" from the adapter {start.digest[:12]}" if start else ""),
        answer_form=SCORED if thinking is None else THOUGHTS,
        thought_tokens=0 if thinking is None else thinking.tokens,
    )

"""What ``atari_vlm.dream eval`` does: real games with a trained player, and the same in its dream of these games."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.experience.episodes import Episode
from atari_vlm.files import atomic_write
from atari_vlm.games import game as known_game
from atari_vlm.games import game_names
from atari_vlm.reporting.live.page import LivePage, live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.progress import Task, running
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.runs.terminal import messages, results
from atari_vlm.scores.statistics import aggregate, human_normalise
from atari_vlm.training.imagination.evaluation import GAMES, STEPS, imagined_returns
from atari_vlm.training.imagination.games import GameConfig, make_game
from atari_vlm.training.imagination.lanes import GameStep, Returns
from atari_vlm.training.imagination.options import EvalOptions
from atari_vlm.training.imagination.playing import EpisodeKeeper, Playing, play_games
from atari_vlm.world_models.checkpoint import (
    Checkpoint,
    build_model,
    build_policy,
    read_checkpoint,
)
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.imagination import DreamConfig
from atari_vlm.world_models.learned.learner import OFFLINE, Policy


def evaluate(options: EvalOptions) -> int:
    """``dream eval``: real games with a trained player, and the same in its dream of these games."""
    options.check()
    checkpoint, device = read_checkpoint(options.model), Device(options.device)
    game = options.game or _trained_on(checkpoint, options.model)
    policy: Policy[Any] = build_policy(checkpoint, options.model, device.name)
    keys = tuple(checkpoint.config.get("keys", ()))
    config = GameConfig(game, checkpoint.config["frame_skip"], 1, options.max_steps, keys)
    _check_game(config, policy)
    with live_page(options) as page:
        page.expect(Expected(options.episodes, "games", game))
        returns, played = _play(options, config, policy, page)
        page.finish()
    dreaming = DreamConfig(options.imagine_steps, options.temperature, options.imagine_temperature)
    run_as = {"device": device.name, "temperature": dreaming.world_temperature}
    model: Any = build_model(checkpoint, options.model, **run_as)
    generator = torch.Generator(device.name).manual_seed(options.seed)
    dreamed = imagined_returns(policy, model, played, dreaming, generator)
    measured = as_data(game, returns, options)
    if options.json is not None:
        atomic_write(options.json, json.dumps(measured, indent=1) + "\n")
    console, episodes = results(), len(returns.returns)
    console.print(
        f"{game}: mean return {_estimate(returns.returns)} (95 %, {episodes} episodes, "
        f"temperature {options.temperature:g}, seed {options.seed}, max {options.max_steps} steps)"
    )
    if measured["human_normalised"] is not None:
        console.print(f"human-normalised: {measured['human_normalised']:.4g}")
    if dreamed:
        signs = " (rewards by sign)" if model.reward_transform == "sign" else ""
        console.print(
            f"in its dream of the first {len(played)} games, {options.imagine_steps} steps at "
            f"most, temperature {options.imagine_temperature:g}: mean return "
            f"{dreamed['imagined_return']:.4g} in {dreamed['imagined_length']:.4g} steps; really "
            f"{dreamed['matched_return']:.4g} in {dreamed['matched_length']:.4g} steps{signs}"
        )
    return 0


def _trained_on(checkpoint: Checkpoint, model: str) -> str:
    """The game that a checkpoint names; one that imports a module is asked for by whoever trusts it."""
    game = str(checkpoint.config.get("game", OFFLINE))
    if game == OFFLINE:
        raise ConfigError(f"{model} learned from recorded steps; give --game to play one")
    if ":" in game:
        raise ConfigError(
            f"{model} learned from {game!r}, a module's game: give --game to import it"
        )
    return game


def as_data(game: str, returns: Returns, options: EvalOptions) -> dict[str, Any]:
    """An evaluation as plain data; a cut game has no human-normalised score."""
    values = np.array(returns.returns)
    estimate = aggregate(values[:, None], "mean") if len(values) > 1 else None
    name, whole = game.removesuffix("-v5"), max(returns.lengths) < options.max_steps
    known = whole and name in game_names() and known_game(name).human_score is not None
    return {
        "game": game,
        "episodes": len(values),
        "mean": float(values.mean()),
        "low": estimate.low if estimate else None,
        "high": estimate.high if estimate else None,
        "returns": returns.returns,
        "human_normalised": float(human_normalise(name, values).mean()) if known else None,
        "temperature": options.temperature,
        "seed": options.seed,
    }


def _check_game(config: GameConfig, policy: Policy[Any]) -> None:
    probe = make_game(config, policy.inputs)
    probe.close()
    if probe.action_space != policy.action_space:
        spaces = f"{config.game} acts with {probe.action_space}, the model with"
        raise MismatchError(f"{spaces} {policy.action_space}")


def _play(
    options: EvalOptions, config: GameConfig, policy: Policy[Any], page: LivePage
) -> tuple[Returns, list[Episode]]:
    """Real games, with a progress bar; the beginnings of the first ones are kept."""
    bars = Bars(messages())
    keeper = EpisodeKeeper(GAMES, max(STEPS, options.imagine_steps + 1))

    def see(row: int, step: GameStep) -> None:
        keeper.see(row, step)
        if step.over:
            advanced()

    generator = torch.Generator(options.device).manual_seed(options.seed)
    seeds = [eval_seed(options.seed, index) for index in range(options.episodes)]
    games = Task("evaluation", options.episodes, "games")
    with bars, running(page.beside(bars), games) as advanced:
        playing = Playing(generator, options.temperature, watch=see)
        returns = play_games(lambda: make_game(config, policy.inputs), policy, seeds, playing)
    return returns, keeper.episodes()


def _estimate(returns: list[float]) -> str:
    """``mean [low, high]``: the bootstrap's interval; none for a single episode."""
    if len(returns) < 2:
        return f"{returns[0]:.4g} [no interval of one episode]"
    estimate = aggregate(np.array(returns)[:, None], "mean")
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"

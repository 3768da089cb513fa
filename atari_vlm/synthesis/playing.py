"""Whole real games, planned in a program: it reads the real game's object table at every step and searches ahead from there."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.agents.planners import CEMAgent, MCTSAgent
from atari_vlm.errors import MismatchError, check_positive
from atari_vlm.games import game as game_of
from atari_vlm.planning.cross_entropy import CEMConfig
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.runs import outputs
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.player import EpisodeSpec, Player, PlayerOptions
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.settings import plain
from atari_vlm.spaces import Env
from atari_vlm.synthesis.command_options import AheadOptions
from atari_vlm.vlm.nobody import NoVLM
from atari_vlm.world_models.base import WorldModel, check_fit, context_space_of
from atari_vlm.world_models.checkpoint import read_checkpoint
from atari_vlm.world_models.code.model import CodeWorldModel, load
from atari_vlm.world_models.code.shipped import golden, table_space
from atari_vlm.wrappers.object_table import for_gymnasium as object_game

GOLDEN = "golden"


@dataclass(frozen=True)
class RealGame:
    """What is played: the game, the seeds of its episodes, and how likely ALE repeats the action before."""

    name: str
    num_episodes: int
    seed: int
    stickiness: float = 0.25
    max_steps: int | None = None

    def __post_init__(self) -> None:
        check_positive(num_episodes=self.num_episodes)
        table_space(self.name)  # names the games that have one

    @property
    def specs(self) -> list[EpisodeSpec]:
        """The episodes; their seeds count up."""
        return [EpisodeSpec(i, "eval", self.seed + i) for i in range(self.num_episodes)]

    def make(self) -> Env:
        """The real game as a table of its objects."""
        return object_game(
            game_of(self.name).name, repeat_action_probability=self.stickiness, render_mode=None
        )


@dataclass(frozen=True)
class PlayedIn:
    """Where it is kept, see :class:`~atari_vlm.runs.run_folder.RunRequest`, and who watches."""

    save_dir: Path
    run_name: str | None = None
    resume: str | None = None
    command: dict[str, Any] = field(default_factory=dict)
    command_line: str = ""
    watching: PlayerOptions = field(default_factory=PlayerOptions)


@contextlib.contextmanager
def model_of(
    world_model: str, game: RealGame, *, unsafe_local_code: bool = False
) -> Iterator[CodeWorldModel]:
    """The model that ``--world-model`` names, ``golden`` or the folder of a checkpoint; it is closed at the end.

    ``MismatchError`` for one that reads no object tables of the game, or acts otherwise.
    """
    if world_model == GOLDEN:
        model = golden(game.name, unsafe_local_code=unsafe_local_code)
    else:
        checkpoint = read_checkpoint(world_model)
        if checkpoint.kind != "code":
            raise MismatchError(f"{world_model} is of the kind {checkpoint.kind!r}, not a program")
        model = load(checkpoint, unsafe_local_code=unsafe_local_code)
    with contextlib.closing(model):
        _check(model, game, world_model)
        yield model


def _check(model: WorldModel[Any], game: RealGame, name: str) -> None:
    wanted, read = table_space(game.name), context_space_of(model)
    if read != wanted:
        raise MismatchError(f"{name} reads {read}; the object table of {game.name} is of {wanted}")
    with contextlib.closing(game.make()) as env:
        meanings = env.get_wrapper_attr("get_action_meanings")()
        check_fit(model, meanings, 4, game.name)


def agent_for(model: WorldModel[Any], options: AheadOptions) -> MCTSAgent | CEMAgent:
    """The planner in ``model`` that the options describe."""
    if options.planner == "cem":
        elites = max(1, options.simulations // 8)
        found = CEMConfig(
            options.horizon, options.simulations, elites, options.iterations, discount=0.99
        )
        return CEMAgent(model, found)
    config = MCTSConfig(
        num_simulations=options.simulations,
        depth=options.horizon,
        rollout_steps=options.horizon,
        rollout_hold=(1, options.hold),
        batch_size=options.simulations,
        backup="max",
    )
    return MCTSAgent(model, config, follow=options.follow)


def play_real(
    model: CodeWorldModel,
    game: RealGame,
    options: AheadOptions,
    place: PlayedIn,
    *,
    on_run: Callable[[RunFolder], None] = lambda run: None,
) -> list[EpisodeRow]:
    """Play the episodes of ``game`` in a run folder, new or continued, and write its tables.

    Raises ``StoppedError`` when the watcher's stop is set; the same call goes on.
    """
    digest = hashlib.sha256(model.program.encode()).hexdigest()
    settings = {"program": digest, "game": plain(game), "planning": plain(options)}
    request = RunRequest(
        save_dir=place.save_dir,
        label=f"{game_of(game.name).name}-code",
        settings=settings,
        execution={},
        run_name=place.run_name,
        resume=place.resume,
        command=place.command,
        command_line=place.command_line,
    )
    with contextlib.closing(RunFolder.open(request)) as run:
        on_run(run)
        run.record_group(
            "eval", range(game.num_episodes), {"strategy": options.planner, "after": 0}
        )
        player = Player(run.journal, NoVLM(), game.make, place.watching)
        played = player.play(game.specs, lambda _, env: agent_for(model, options))
        outputs.write_tables(run.path, run.journal)
        outputs.write_results(run.path, settings, run.journal)
        run.finish()
    return [episode.row for episode in played]

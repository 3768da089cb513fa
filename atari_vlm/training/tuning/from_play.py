"""Teachers that play new episodes: the bundled player, and tree search in the emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from atari_vlm.agents.base import Agent
from atari_vlm.agents.planner_specs import ASKING, check_planner, tree_search, worlds_of
from atari_vlm.agents.specs import parse_agents
from atari_vlm.agents.vlm_agent import VLMAgent
from atari_vlm.errors import ConfigError
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import GameSpec
from atari_vlm.runs.rollout import play_episode
from atari_vlm.runs.seeds import eval_seed, train_seed
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.lessons import (
    Lesson,
    PlayedEpisode,
    TeachingConfig,
    Watch,
    pupil_options,
)
from atari_vlm.vlm.scripted import ScriptedVLM

MakeTeacher = Callable[[Env], Agent]


def bundled_player(env: Env) -> Agent:
    """The player by rules and habits."""
    return VLMAgent(ScriptedVLM(), prompt_type="basic")


def planner(word: str) -> MakeTeacher:
    """Tree search from ``mcts@MODEL[,OPTION=VALUE...]``, the options those of studies; ``ConfigError`` for what is none."""
    specs = parse_agents(word)
    if len(specs) != 1 or specs[0].kind != "planner" or specs[0].planner[0] != "mcts":
        raise ConfigError(f"of the planners tree search teaches, as in mcts@emulator, not {word}")
    (spec,) = specs
    check_planner(spec)
    if any(name in spec.options for name in ASKING):
        raise ConfigError(
            f"{spec.name}: a planner that teaches asks no model; leave {', '.join(ASKING)} out"
        )
    return tree_search(spec, worlds_of(spec))


def played(
    make_teacher: MakeTeacher, games: Sequence[GameSpec], config: TeachingConfig, watch: Watch
) -> Iterator[PlayedEpisode]:
    """Training episodes on even seeds, held-out ones on odd seeds; the latter are explored as much."""
    seeds = [
        *((train_seed(config.seed, n), False) for n in range(config.episodes)),
        *((eval_seed(config.seed, n), True) for n in range(config.held_out)),
    ]
    number = 0
    for game in games:
        env = make_env({"game_name": game.name, "env": dict(game.options)})
        try:
            for seed, held_out in seeds:
                lesson = Lesson(config, pupil_options({}, config.frames), watch, number)
                agent = lesson.agent(make_teacher(env), explore=config.explore)
                episode = play_episode(env, agent, seed=seed, max_steps=config.max_steps)
                kept = tuple(lesson.kept)
                yield PlayedEpisode(game.name, held_out, episode.episode_return, kept)
                number += 1
        finally:
            env.close()

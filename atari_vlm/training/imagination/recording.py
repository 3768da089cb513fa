"""Whole episodes of a game, played by an agent and kept as a world model would see them.

The agent sees what it sees in a study of such a game; what is kept is what
:class:`~atari_vlm.training.imagination.games.TrainingGame` makes of it. An episode is a function of its recipe and its number:
whoever plays it, wherever and whenever, gets the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch

from atari_vlm.actions import as_action
from atari_vlm.agents.specs import AgentSpec, parse_agents
from atari_vlm.agents.unasked import MakeAgent, unasked_agent
from atari_vlm.agents.worlds import NAMED
from atari_vlm.errors import AtariVLMError, ConfigError, RunError, StoppedError, one_line
from atari_vlm.experience.episode_files import read_data_set, write_episodes
from atari_vlm.experience.episodes import Episode
from atari_vlm.experience.replay import Column
from atari_vlm.runs.environments import described
from atari_vlm.runs.rollout import play_episode
from atari_vlm.runs.seeds import SEEDS_PER_RUN, train_seed
from atari_vlm.training.imagination.games import (
    LOST_LIFE,
    GameConfig,
    Reset,
    Stepped,
    TrainingGame,
    facts_of,
    make_game,
)
from atari_vlm.training.imagination.lanes import GameStep
from atari_vlm.training.imagination.playing import episode_of
from atari_vlm.world_models.learned.learner import GameFacts


@dataclass(frozen=True)
class Recipe:
    """What episodes depend on, besides their number.

    ``agent``: a word as ``evaluate`` takes it, of one that asks no model. ``keys``: parts of observations that are kept (empty:
    all but texts, whose letters are numbers to a model that knows no language). Pictures are brought to ``frame_px`` square;
    ``None``: at their own size.
    """

    game: str
    agent: str
    seed: int = 0
    max_steps: int = 27_000
    keys: tuple[str, ...] = ()
    frame_px: int | None = 64

    @property
    def spec(self) -> AgentSpec:
        """The agent; ``ConfigError`` unless it is one."""
        specs = parse_agents(self.agent)
        if len(specs) != 1:
            raise ConfigError(f"one agent plays, got {self.agent!r}")
        return specs[0]

    @property
    def config(self) -> GameConfig:
        """The game."""
        return GameConfig(self.game, max_steps=self.max_steps, keys=self.keys)

    def seed_of(self, number: int) -> int:
        """The seed of an episode."""
        return train_seed(self.seed, number)

    def columns(self, facts: GameFacts) -> dict[str, Column]:
        """What is kept of the game's observations."""
        kept = {
            name: self._sized(column)
            for name, column in facts.inputs.items()
            if self.keys or name not in facts.texts
        }
        if not kept:
            raise ConfigError(f"{self.game} shows nothing but texts; name those to keep (--keys)")
        return kept

    def _sized(self, column: Column) -> Column:
        if not column.on_disk or self.frame_px is None:  # numbers
            return column
        shape = (self.frame_px, self.frame_px, *column.shape[2:])
        return dataclasses.replace(column, shape=shape)


def check_recipe(recipe: Recipe, episodes: int) -> GameFacts:
    """What is known of the game; ``ConfigError`` for a recipe that cannot be played, found in two steps of play."""
    if episodes > SEEDS_PER_RUN:
        raise ConfigError(
            f"a seed has {SEEDS_PER_RUN} episodes, asked for are {episodes}; give the others another --seed"
        )
    facts = facts_of(recipe.game, recipe.keys)
    recipe.columns(facts)
    Recorder(dataclasses.replace(recipe, max_steps=2)).episode(0)
    return facts


class _AgentsGame(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A training game as an agent plays it: it is shown what the environment shows; ``steps`` are kept as the game has them."""

    env: TrainingGame

    def __init__(self, game: TrainingGame, stop: threading.Event | None):
        super().__init__(game)
        self.observation_space = game.env.observation_space
        self.steps: list[GameStep] = []
        self._stop = stop

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begin."""
        self._shown, _ = self.env.reset(seed=seed, options=options)
        self.steps.clear()
        return self.env.observed

    def step(self, action: Any) -> Stepped:
        """Play an action, and keep the step."""
        if self._stop is not None and self._stop.is_set():
            raise StoppedError("stopped between two steps")
        played = as_action(self.env.action_space, action)
        before = self._shown
        self._shown, reward, over, cut, info = self.env.step(played)
        lost = info[LOST_LIFE]
        self.steps.append(GameStep(0, before, played, reward, over, cut, lost, self._shown))
        observation, its_info = self.env.observed
        return observation, reward, over, cut, its_info


@dataclass(frozen=True)
class Recorder:
    """Plays the episodes of a recipe: called with a number it returns the episode as a file's bytes.

    ``stop`` ends an episode between two steps with ``StoppedError``; it is for this process and is not sent.
    """

    recipe: Recipe
    stop: threading.Event | None = None

    def __call__(self, number: int) -> bytes:
        """The npz file of an episode."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "episode.npz"
            episode, facts = self.episode(number)
            write_episodes(path, [episode], facts.action_space, facts.frame_skip)
            return path.read_bytes()

    def episode(self, number: int) -> tuple[Episode, GameFacts]:
        """Play one, from its beginning to its end; what is known of the game beside it."""
        recipe = self.recipe
        make_agent, columns = _at_hand(recipe)
        game = _AgentsGame(make_game(recipe.config, columns), self.stop)
        try:
            facts, seed = game.env.facts, recipe.seed_of(number)
            with _told(recipe.spec, game):
                seen = described(game)
                play_episode(seen, make_agent(seen), seed=seed)
            return episode_of(game.steps, action_names=facts.action_names, seed=seed), facts
        finally:
            game.close()


@contextmanager
def _told(spec: AgentSpec, game: _AgentsGame) -> Iterator[None]:
    """What an agent of the user's own raises is told as its failure."""
    try:
        yield
    except AtariVLMError:
        raise
    except Exception as error:
        if spec.kind != "own":
            raise
        raise RunError(
            f"{spec.name} failed at step {len(game.steps) + 1} of {game.env.name}: {type(error).__name__}: {one_line(error)}"
        ) from error


@functools.lru_cache(maxsize=1)
def _at_hand(recipe: Recipe) -> tuple[MakeAgent, dict[str, Column]]:
    """What all episodes of a recipe begin with; a process plays those of one recipe at a time."""
    spec = recipe.spec
    if spec.kind == "planner" and spec.planner[1] not in NAMED:
        torch.set_num_threads(1)  # its numbers are equal to the bit only with as many everywhere
    return unasked_agent(spec), recipe.columns(facts_of(recipe.game, recipe.keys))


class Recorded(Sequence[Episode]):
    """The episodes of some files of one each, read when they are asked for."""

    def __init__(self, recipe: Recipe, files: Sequence[Path]):
        self._recipe, self._files = recipe, list(files)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Episode]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        episode = read_data_set(str(self._files[index])).episodes[0]
        return dataclasses.replace(episode, seed=self._recipe.seed_of(range(len(self))[index]))

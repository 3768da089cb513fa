"""Minari data sets as teachers: ``minari:ID[,pictures=true]``, of one game of ALE.

Where its episodes have seeds they are played again in the game that ``--game`` names, exactly, and what comes of it is compared;
else, or with ``pictures=true``, the pupil looks at the pictures that the data set holds, in the size of play. Of the environment
that the data set names only the id is read: nothing of it is made or imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from atari_vlm import games as atari
from atari_vlm.agents.specs import read_options, split_outside
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.env.observing import Observer, View
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.experience.episodes import IMAGE, Episode
from atari_vlm.experience.minari import episodes_of, open_minari, seeds_of, unreadable
from atari_vlm.picture import resize
from atari_vlm.runs.demonstration_files import names_of_actions
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import GameSpec
from atari_vlm.runs.rollout import play_episode
from atari_vlm.settings import from_plain
from atari_vlm.training.tuning.lessons import (
    Lesson,
    PlayedEpisode,
    TeachingConfig,
    Watch,
    best_of,
    held_out_of,
    pupil_options,
)
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.wrappers.views import action_names

MINARI = "minari:"


@dataclass(frozen=True)
class MinariOptions:
    """``pictures``: those of the data set are looked at, also where its episodes could be played again."""

    pictures: bool = False


def recorded_in_minari(
    word: str, games: Sequence[GameSpec], config: TeachingConfig, watch: Watch
) -> Iterator[PlayedEpisode]:
    """The episodes of a local data set. ``ConfigError`` for one that is none, is empty, is of another game than asked for, has
    actions that the game has not, has neither seeds nor pictures, or does not repeat.
    """
    dataset_id, *rest = split_outside(word.removeprefix(MINARI)) or [""]
    options = from_plain(MinariOptions, read_options(rest, word), word)
    dataset = open_minari(dataset_id)
    game = _game_of(dataset, dataset_id, games)
    names = names_of_actions(game.name, dataset.action_space, dataset_id)
    with unreadable(dataset_id):
        seeds = seeds_of(dataset)
        totals = [(n, float(e.rewards.sum())) for n, e in enumerate(episodes_of(dataset))]
    rows = best_of(totals, config.best, lambda row: game.name, lambda row: row[1])
    if not rows:
        raise ConfigError(f"the Minari dataset {dataset_id!r} is empty: there is nothing to learn")
    env = _env_of(game)
    try:
        stage = _Stage(dataset_id, env, _own_numbers(names, env, dataset_id))
        places = {n: place for place, (n, _) in enumerate(rows)}
        held_out = held_out_of([game.name] * len(rows), config.held_out)
        for n, episode in enumerate(_read(dataset, dataset_id)):
            if n not in places:
                continue
            lesson = Lesson(config, pupil_options({}, config.frames), watch, places[n])
            seed = None if options.pictures else seeds[n]
            total = stage.play(episode, seed, lesson)
            kept = tuple(lesson.kept)
            yield PlayedEpisode(game.name, held_out[places[n]], total, kept)
    finally:
        env.close()


def _read(dataset: Any, dataset_id: str) -> Iterator[Episode]:
    """Its episodes, one at a time; only reading them is within the boundary."""
    with unreadable(dataset_id):
        episodes = iter(episodes_of(dataset))
    while True:
        with unreadable(dataset_id):
            episode = next(episodes, None)
        if episode is None:
            return
        yield episode


def _game_of(dataset: Any, dataset_id: str, wanted: Sequence[GameSpec]) -> GameSpec:
    if dataset.env_spec is None:
        raise MismatchError(f"the Minari dataset {dataset_id!r} does not say which game it is of")
    name = atari.game(str(dataset.env_spec.id)).name
    if [spec.name for spec in wanted] != [name]:
        asked = ", ".join(spec.name for spec in wanted)
        raise MismatchError(
            f"the Minari dataset {dataset_id!r} is of {name} alone, and --game asks for {asked}"
        )
    return wanted[0]


def _env_of(game: GameSpec) -> AtariVLMEnvironment:
    env = make_env({"game_name": game.name, "env": dict(game.options)}).unwrapped
    assert isinstance(env, AtariVLMEnvironment)
    return env


def _own_numbers(names: Sequence[str], env: Any, dataset_id: str) -> list[int | None]:
    """The game's number of each action of the data set; ``None`` for one that the game has not."""
    own = list(action_names(env, "a teacher"))
    return [own.index(name) if name in own else None for name in names]


class _Stage:
    """Where recorded episodes are shown to a pupil: the game itself, or their own pictures."""

    def __init__(self, dataset_id: str, env: AtariVLMEnvironment, numbers: list[int | None]):
        self._id, self._env, self._numbers = dataset_id, env, numbers

    def play(self, episode: Episode, seed: int | None, lesson: Lesson) -> float:
        """Its return."""
        actions = [self._own(int(action)) for action in episode.actions]
        env: Any = self._env
        if seed is None:
            if IMAGE not in episode.inputs:
                raise ConfigError(
                    f"the Minari dataset {self._id!r} has neither seeds nor RGB pictures: nobody can see what its player saw"
                )
            env = _Shown(episode.with_last(), self._env)
        agent = lesson.agent(_Repeating(actions))
        played = play_episode(env, agent, seed=seed, max_steps=len(actions))
        rewards = [step.reward for step in played.transitions]
        if not np.array_equal(rewards, episode.rewards.astype(np.float64)):
            raise ConfigError(
                f"the Minari dataset {self._id!r} does not repeat: episode {episode.name} earns other rewards than it says; it "
                f"was played with other settings (--game {self._env.game_name},repeat_action_probability=0 for instance), or add "
                "pictures=true to learn from its pictures"
            )
        return played.episode_return

    def _own(self, action: int) -> int:
        number = self._numbers[action]
        if number is None:
            raise ConfigError(
                f"the Minari dataset {self._id!r} plays the action {action}, which the game has not; "
                "full_action_space=true behind the game's name gives it all 18"
            )
        return number


class _Repeating:
    """Does what was done."""

    def __init__(self, actions: Sequence[int]):
        self._actions, self._next = actions, 0

    def reset(self, *, seed: int | None = None) -> None:
        """Back to the first."""
        self._next = 0

    def act(self, observation: Any) -> Decision:
        """The next one."""
        self._next += 1
        return Decision(self._actions[self._next - 1], Source.POLICY)

    def observe(self, transition: Transition) -> None:
        """Nothing is learned from it."""


class _Shown(gymnasium.Env[Any, Any]):
    """An episode's pictures as observations of ``env``, whose size they are given."""

    def __init__(self, episode: Episode, env: AtariVLMEnvironment):
        self._episode, self._step = episode, 0
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._shape: tuple[int, int] = env.observation_space["frames"].shape[1:3]  # type: ignore[index]
        game = atari.game(env.game_name)
        view = View(image_format="numpy")
        self._observer = Observer(game, env.get_action_meanings(), self._shape, view)

    def _look(self) -> dict[str, Any]:
        picture = self._episode.pictures[self._step]
        if picture.shape[:2] != self._shape:
            picture = resize(picture, self._shape)
        return self._observer.observe(picture, picture)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The first picture."""
        self._step = 0
        self._observer.begin()
        return self._look(), {}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """The next picture, whatever is done."""
        t, episode = self._step, self._episode
        reward = float(episode.rewards[t])
        self._observer.count(int(action), reward)
        self._step += 1
        ends = bool(episode.terminated[t]), bool(episode.truncated[t])
        return self._look(), reward, *ends, {}

"""Demonstrations as Minari datasets: observations are uint8 ``(T + 1, H, W, 3)``, what the agent saw.

The facts of each step are not stored; they follow from game, actions and rewards, so that datasets that others recorded from
ALE can be read as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from atari_vlm import games
from atari_vlm.agents.in_context.demonstrations import (
    Demonstration,
    DemonstrationRecorder,
    ExampleOptions,
)
from atari_vlm.description import Facts, list_actions
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.experience.episodes import Episode
from atari_vlm.experience.minari import About, episodes_of, open_minari, unreadable, write_minari
from atari_vlm.pil_images import to_image
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import is_atari
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.outputs import done_episodes
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.runs.run_folder import read_config
from atari_vlm.types import Decision, Source, Trajectory, Transition

DEFAULT_OPTIONS = ExampleOptions()


def export_demonstrations(run: str | Path, dataset_id: str, *, best: int | None = None) -> int:
    """Write a run's finished training episodes (the ``best`` by return) as a local Minari dataset; returns how many.

    The emulator plays them again for their pictures. Pictures are stored without loss.
    """
    settings = read_config(Path(run))["settings"]
    if not is_atari(settings["game_name"]):
        raise ConfigError(
            f"{run} is a run of {settings['game_name']}; demonstrations are exported of ALE's games only"
        )
    with Journal(Path(run) / "journal.sqlite", read_only=True) as journal:
        rows = [row for row in done_episodes(journal) if row.phase == "train"]
        rows = sorted(rows, key=lambda row: (-(row.episode_return or 0.0), row.episode))[:best]
        if not rows:
            raise ConfigError(f"{run} has no finished training episode to export")
        rows = sorted(rows, key=lambda row: row.episode)
        played = (_played_again(journal, row, settings) for row in rows)
        env = gym.make(
            f"AtariVLM/{settings['game_name']}-v5", **{**settings["env"], "image_format": "numpy"}
        )
        described = f"{settings['game_name']} played by {settings['endpoint']}: pictures as seen, actions, rewards"
        algorithm = f"atari_vlm {settings['vlm_type']} {settings['prompt_type']}"
        try:
            write_minari(dataset_id, played, About(env.action_space, algorithm, described, env))
        finally:
            env.close()
    return len(rows)


def import_demonstrations(
    dataset_id: str, options: ExampleOptions = DEFAULT_OPTIONS
) -> list[Demonstration]:
    """Read a local Minari dataset of one Atari game as demonstrations, numbered upwards to -1: before any episode of a run.

    Raises ``ConfigError`` when there is no such dataset, ``MismatchError`` when it is not of an Atari game or holds no RGB
    pictures.
    """
    dataset = open_minari(dataset_id)
    if dataset.env_spec is None:
        raise MismatchError(f"the dataset {dataset_id!r} does not say which game it is of")
    game = games.game(dataset.env_spec.id).name
    names = _action_names(game, int(dataset.action_space.n), dataset_id)
    count = int(dataset.total_episodes)
    with unreadable(dataset_id):
        return [
            _demonstration(episode, number - count, game, names, options)
            for number, episode in enumerate(episodes_of(dataset, tuple(names)))
        ]


def _played_again(journal: Journal, row: EpisodeRow, settings: dict[str, Any]) -> Episode:
    pictures: list[np.ndarray] = []

    def see(transition: Transition) -> None:
        if not pictures:
            pictures.append(to_image(transition.observation["image"]).pixels)
        pictures.append(to_image(transition.next_observation["image"]).pixels)

    env = make_env(settings)
    try:
        steps = replay_episode(env, row, journal.steps(row.episode), see).transitions
    finally:
        env.close()
    actions = np.array([int(step.decision.action) for step in steps], np.int64)
    rewards = np.array([step.reward for step in steps], np.float64)
    ends = [
        np.array([getattr(step, name) for step in steps], np.bool_)
        for name in ("terminated", "truncated")
    ]
    return Episode({"image": np.stack(pictures)}, actions, rewards, *ends, seed=row.seed)


def _action_names(game: str, count: int, dataset_id: str) -> Sequence[str]:
    """ALE's names of a dataset's actions: the game's own set, or all 18."""
    for full in (False, True):
        env = AtariVLMEnvironment(game, full_action_space=full)
        names = env.get_action_meanings()
        env.close()
        if len(names) == count:
            return names
    raise MismatchError(
        f"the dataset {dataset_id!r} has {count} actions; {game} has {len(names)} at most"
    )


def _demonstration(
    episode: Episode, number: int, game: str, names: Sequence[str], options: ExampleOptions
) -> Demonstration:
    recorder = DemonstrationRecorder(number, options)
    transitions = tuple(_transitions(episode.with_last(), game, names))
    for transition in transitions:
        recorder.see(transition)
    return recorder.finish(Trajectory(game, None, transitions))


def _transitions(episode: Episode, game: str, names: Sequence[str]) -> Iterator[Transition]:
    """The steps of a dataset's episode, with observations as the environment makes them."""
    listed = list_actions(names, games.game(game).controls)
    facts = Facts(game)
    columns = (
        episode.actions.tolist(),
        episode.rewards.tolist(),
        episode.terminated.tolist(),
        episode.truncated.tolist(),
    )
    for step, (action, reward, terminated, truncated) in enumerate(zip(*columns, strict=True)):
        observation = {
            "image": episode.pictures[step],
            "text": facts.to_text(),
            "action_space": listed,
        }
        facts = Facts(game, step + 1, names[action], reward, facts.episode_return + reward)
        following = {
            "image": episode.pictures[step + 1],
            "text": facts.to_text(),
            "action_space": listed,
        }
        yield Transition(
            observation, Decision(action, Source.POLICY), reward, following, terminated, truncated
        )

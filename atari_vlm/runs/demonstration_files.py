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
from atari_vlm.errors import ConfigError, MismatchError, reading
from atari_vlm.experience.episode_files import read_episodes
from atari_vlm.experience.episodes import Episode
from atari_vlm.experience.minari import About, episodes_of, open_minari, unreadable, write_minari
from atari_vlm.files import read_real
from atari_vlm.pil_images import to_image
from atari_vlm.plain_json import plain_json
from atari_vlm.runs.environments import checked_settings, make_env
from atari_vlm.runs.game_names import is_atari
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.outputs import done_episodes
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.runs.run_folder import read_config
from atari_vlm.sharing.names import is_hub_name
from atari_vlm.sharing.pulling import local_folder
from atari_vlm.types import Decision, Source, Trajectory, Transition

DEFAULT_OPTIONS = ExampleOptions()


def export_demonstrations(run: str | Path, dataset_id: str, *, best: int | None = None) -> int:
    """Write a run's finished training episodes (the ``best`` by return) as a local Minari dataset; returns how many.

    The emulator plays them again for their pictures. Pictures are stored without loss.
    """
    settings = read_config(Path(run))["settings"]
    with Journal(Path(run) / "journal.sqlite", read_only=True) as journal:
        rows = _training_rows(run, settings, journal, best)
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

    ``hub:OWNER/NAME[@REVISION]`` is a data set of episodes, or a run with training episodes, on the Hugging Face Hub. Raises
    ``ConfigError`` when there is no such dataset, ``MismatchError`` when it is not of an Atari game or holds no RGB pictures.
    """
    if is_hub_name(dataset_id):
        return _shared(dataset_id, options)
    dataset = open_minari(dataset_id)
    if dataset.env_spec is None:
        raise MismatchError(f"the dataset {dataset_id!r} does not say which game it is of")
    game = games.game(dataset.env_spec.id).name
    names = names_of_actions(game, dataset.action_space, dataset_id)
    count = int(dataset.total_episodes)
    with unreadable(dataset_id):
        return [
            _demonstration(episode, number - count, game, names, options)
            for number, episode in enumerate(episodes_of(dataset, tuple(names)))
        ]


def _training_rows(
    run: str | Path, settings: dict[str, Any], journal: Journal, best: int | None
) -> list[EpisodeRow]:
    """A run's finished training episodes, the ``best`` by return, in order; ``ConfigError`` for none, or of another game."""
    if not is_atari(settings["game_name"]):
        raise ConfigError(
            f"{run} is a run of {settings['game_name']}; demonstrations are exported of ALE's games only"
        )
    rows = [row for row in done_episodes(journal) if row.phase == "train"]
    rows = sorted(rows, key=lambda row: (-(row.episode_return or 0.0), row.episode))[:best]
    if not rows:
        raise ConfigError(f"{run} has no finished training episode to export")
    return sorted(rows, key=lambda row: row.episode)


def _shared(place: str, options: ExampleOptions) -> list[Demonstration]:
    """The demonstrations of a stranger's data set, or run: of that its training episodes, which are played again here."""
    folder = local_folder(place, types=("dataset", "model"))
    if (folder / "config.yaml").is_file():
        settings = checked_settings(read_config(folder)["settings"], place)
        with Journal(folder / "journal.sqlite", read_only=True) as journal:
            rows = _training_rows(place, settings, journal, None)
            episodes = [_played_again(journal, row, settings) for row in rows]
        game = games.game(settings["game_name"]).name
    else:
        episodes, game = read_episodes(folder), _game_of(folder, place)
    names = _meant_names(game, episodes, place)
    with unreadable(place):
        return [
            _demonstration(episode, number - len(episodes), game, names, options)
            for number, episode in enumerate(episodes)
        ]


def _meant_names(game: str, episodes: Sequence[Episode], place: str) -> Sequence[str]:
    """ALE's names of the actions: as they are said, or where they are numbers the smallest set that has so many."""
    said = tuple(episodes[0].action_names)
    if any(tuple(episode.action_names) != said for episode in episodes):
        raise MismatchError(f"the episodes of {place!r} have not one set of actions")
    sets = [_names_of(game, full) for full in (False, True)]
    numbered = all(name.isdigit() for name in said)
    for names in sets:
        if names == said or (numbered and len(said) <= len(names)):
            return names
    raise MismatchError(
        f"the actions of {place!r} are not those of {game}: {', '.join(said)[:200]}"
    )


def _game_of(folder: Path, place: str) -> str:
    """The game that a shared data set's ``dataset.json`` names."""
    file = folder / "dataset.json"
    with reading(f"dataset.json of {place}", ConfigError):
        about = plain_json(read_real(file, 1 << 20)) if file.is_file() else {}
        said = about.get("game")
    if not isinstance(said, str):
        raise MismatchError(f"the dataset {place!r} does not say which game it is of")
    return games.game(said).name


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
    names = _names_of(settings["game_name"], bool((settings["env"] or {}).get("full_action_space")))
    return Episode(
        {"image": np.stack(pictures)}, actions, rewards, *ends, action_names=names, seed=row.seed
    )


def names_of_actions(game: str, space: Any, dataset_id: str) -> Sequence[str]:
    """ALE's names of a dataset's actions: the game's own set, or all 18; ``MismatchError`` where they are neither."""
    if not isinstance(space, gym.spaces.Discrete) or space.start != 0:
        raise MismatchError(f"the dataset {dataset_id!r} has no numbered actions: {space!s:.80}")
    for full in (False, True):
        names = _names_of(game, full)
        if len(names) == space.n:
            return names
    raise MismatchError(
        f"the dataset {dataset_id!r} has {space.n} actions; {game} has {len(names)} at most"
    )


def _names_of(game: str, full: bool) -> tuple[str, ...]:
    env = AtariVLMEnvironment(game, full_action_space=full)
    names = tuple(env.get_action_meanings())
    env.close()
    return names


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

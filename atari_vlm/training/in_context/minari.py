"""Demonstrations as Minari datasets: observations are uint8 ``(T + 1, H, W, 3)``, what the agent saw.

The facts of each step are not stored; they follow from game, actions and rewards, so that datasets that others recorded from
ALE can be read as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import atari_vlm
from atari_vlm import games
from atari_vlm._lazy import require
from atari_vlm.description import Facts, list_actions
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.outputs import done_episodes
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.runs.run_folder import read_config
from atari_vlm.spaces import to_image
from atari_vlm.training.in_context.demonstrations import Demonstration, DemonstrationRecorder, ExampleOptions
from atari_vlm.types import Decision, Source, Trajectory, Transition

DEFAULT_OPTIONS = ExampleOptions()


def export_demonstrations(run: str | Path, dataset_id: str, *, best: int | None = None) -> int:
    """Write a run's finished training episodes (the ``best`` by return) as a local Minari dataset; returns how many.

    The emulator plays them again for their pictures. Pictures are stored without loss.
    """
    minari = require("minari", "datasets")
    settings = read_config(Path(run))["settings"]
    with Journal(Path(run) / "journal.sqlite", read_only=True) as journal:
        rows = [row for row in done_episodes(journal) if row.phase == "train"]
        rows = sorted(rows, key=lambda row: (-(row.episode_return or 0.0), row.episode))[:best]
        if not rows:
            raise ConfigError(f"{run} has no finished training episode to export")
        dataset = None
        for row in sorted(rows, key=lambda row: row.episode):
            buffer = [_buffer(journal, row, settings)]
            if dataset is None:
                dataset = _create(minari, dataset_id, buffer, settings)
            else:
                dataset.update_dataset_from_buffer(buffer)
    return len(rows)


def import_demonstrations(dataset_id: str, options: ExampleOptions = DEFAULT_OPTIONS) -> list[Demonstration]:
    """Read a local Minari dataset of one Atari game as demonstrations, numbered upwards to -1: before any episode of a run.

    Raises ``ConfigError`` when there is no such dataset, ``MismatchError`` when it is not of an Atari game or holds no RGB
    pictures.
    """
    minari = require("minari", "datasets")
    if dataset_id not in minari.list_local_datasets():
        raise ConfigError(
            f"there is no local Minari dataset {dataset_id!r}; `minari download {dataset_id}` may fetch it"
        )
    dataset = minari.load_dataset(dataset_id)
    if dataset.env_spec is None:
        raise MismatchError(f"the dataset {dataset_id!r} does not say which game it is of")
    game = games.game(dataset.env_spec.id).name
    names = _action_names(game, int(dataset.action_space.n), dataset_id)
    count = int(dataset.total_episodes)
    return [
        _demonstration(episode, index - count, game, names, options)
        for index, episode in enumerate(dataset.iterate_episodes())
    ]


def _buffer(journal: Journal, row: EpisodeRow, settings: dict[str, Any]) -> Any:
    """One episode as Minari buffers it."""
    from minari.data_collector import EpisodeBuffer

    pictures: list[np.ndarray] = []

    def see(transition: Transition) -> None:
        if not pictures:
            pictures.append(to_image(transition.observation["image"]).pixels)
        pictures.append(to_image(transition.next_observation["image"]).pixels)

    env = make_env(settings)
    try:
        trajectory = replay_episode(env, row, journal.steps(row.episode), see)
    finally:
        env.close()
    steps = trajectory.transitions
    return EpisodeBuffer(
        seed=row.seed,
        observations=pictures,
        actions=[int(step.decision.action) for step in steps],
        rewards=[step.reward for step in steps],
        terminations=[step.terminated for step in steps],
        truncations=[step.truncated for step in steps],
    )


def _create(minari: Any, dataset_id: str, buffer: list[Any], settings: dict[str, Any]) -> Any:
    env = gym.make(f"AtariVLM/{settings['game_name']}-v5", **{**settings["env"], "image_format": "numpy"})
    shape = buffer[0].observations[0].shape
    options: dict[str, Any] = {}
    if "jpeg_encoding" in inspect.signature(minari.create_dataset_from_buffers).parameters:
        options["jpeg_encoding"] = False  # the default loses pixels
    try:
        return minari.create_dataset_from_buffers(
            dataset_id,
            buffer=buffer,
            env=env,
            eval_env=env,
            observation_space=gym.spaces.Box(0, 255, shape, np.uint8),
            algorithm_name=f"atari_vlm {settings['vlm_type']} {settings['prompt_type']}",
            author="atari_vlm",
            author_email="none",
            code_permalink=f"atari-vlm {atari_vlm.__version__}",
            description=f"{settings['game_name']} played by {settings['endpoint']}: pictures as seen, actions, rewards",
            **options,
        )
    finally:
        env.close()


def _action_names(game: str, count: int, dataset_id: str) -> Sequence[str]:
    """ALE's names of a dataset's actions: the game's own set, or all 18."""
    for full in (False, True):
        env = AtariVLMEnvironment(game, full_action_space=full)
        names = env.get_action_meanings()
        env.close()
        if len(names) == count:
            return names
    raise MismatchError(f"the dataset {dataset_id!r} has {count} actions; {game} has {len(names)} at most")


def _demonstration(
    episode: Any, number: int, game: str, names: Sequence[str], options: ExampleOptions
) -> Demonstration:
    recorder = DemonstrationRecorder(number, options)
    transitions = tuple(_transitions(episode, game, names))
    for transition in transitions:
        recorder.see(transition)
    return recorder.finish(Trajectory(game, None, transitions))


def _transitions(episode: Any, game: str, names: Sequence[str]) -> Iterator[Transition]:
    """The steps of a dataset's episode, with observations as the environment makes them."""
    pictures = np.asarray(episode.observations)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise MismatchError(f"demonstrations need uint8 pictures (T, H, W, 3), got {pictures.dtype} {pictures.shape}")
    listed = list_actions(names, games.game(game).controls)
    facts = Facts(game)
    rows = zip(episode.actions, episode.rewards, episode.terminations, episode.truncations, strict=True)
    for step, (action, reward, terminated, truncated) in enumerate(rows):
        observation = {"image": pictures[step], "text": facts.to_text(), "action_space": listed}
        after = facts.episode_return + float(reward)
        facts = Facts(game, step + 1, names[int(action)], float(reward), after)
        following = {"image": pictures[step + 1], "text": facts.to_text(), "action_space": listed}
        decision = Decision(int(action), Source.POLICY)
        yield Transition(observation, decision, float(reward), following, bool(terminated), bool(truncated))

"""The pictures of a recorded episode, from the emulator: it is played again from its seed and its actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atari_vlm.description import read_actions
from atari_vlm.errors import ConfigError, RunError
from atari_vlm.pil_images import to_image
from atari_vlm.reporting.page.run_data import Replay, ReplayNotes, Show
from atari_vlm.runs.journal import EpisodeRow, StepRow
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.spaces import Env
from atari_vlm.types import Transition


def environment_replay(make_env: Callable[[EpisodeRow], Env]) -> Replay:
    """A replay that plays in ``make_env(row)`` and shows ``obs["image"]``: what the agent saw.

    An episode that does not repeat (another emulator, other settings) keeps its pictures up to there, and the note says so.
    """

    def replay(row: EpisodeRow, steps: Sequence[StepRow], show: Show) -> ReplayNotes:
        if not steps:
            return ReplayNotes(note="This episode has no steps yet.")
        names: tuple[str, ...] = ()
        note = ""
        count = 0

        def on_step(transition: Transition) -> None:
            nonlocal names, count
            if (
                not isinstance(transition.observation, Mapping)
                or "image" not in transition.observation
            ):
                return
            names = names or _action_names(transition.observation)
            show(count, lambda: to_image(transition.observation["image"]).png)
            count += 1
            if count == len(steps):
                show(count, lambda: to_image(transition.next_observation["image"]).png)

        try:
            env = make_env(row)
        except ConfigError as error:
            return ReplayNotes(note=f"Pictures of episode {row.episode} are missing: {error}")
        try:
            replay_episode(env, row, steps, on_step)
        except RunError as error:
            note = (
                f"Pictures of episode {row.episode} are missing from step {count + 1} on: {error}"
            )
        finally:
            env.close()
        if not count and not note:
            note = "The observations of this run hold no picture."
        return ReplayNotes(names, note)

    return replay


def _action_names(observation: Mapping[str, Any]) -> tuple[str, ...]:
    return read_actions(observation["action_space"]) if "action_space" in observation else ()

"""The progress of a unit that is played elsewhere: told to the driver, which shows it with the name of the worker."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from atari_vlm.runs.cluster.shipping import Outbox
from atari_vlm.runs.journal_rows import EpisodeRow
from atari_vlm.runs.progress import Task
from atari_vlm.types import Message, Reply, Transition

_PICTURE_EVERY_S = 0.5  # a picture is shipped for somebody to look at


class ShippedProgress:
    """Tells the driver; pictures of the game go along seldom, and only where somebody ``looks``."""

    def __init__(self, outbox: Outbox, worker: str, looks: bool):
        self._outbox, self._worker, self._looks = outbox, worker, looks
        self._pictured = 0.0

    def began(self, task: Task, recorded: int = 0) -> None:
        """Tell."""
        self._tell("began", self._named(task), recorded)

    def advanced(self, task: Task, step: Transition | None = None, calls: int = 0) -> None:
        """Tell, without the pictures that nobody will see."""
        self._tell("advanced", self._named(task), step and self._slim(step), calls)

    def ended(self, task: Task, result: EpisodeRow | None = None) -> None:
        """Tell."""
        self._tell("ended", self._named(task), result)

    def say(self, message: str) -> None:
        """Tell."""
        self._tell("say", f"{self._worker}: {message}")

    def _named(self, task: Task) -> Task:
        return dataclasses.replace(task, worker=self._worker)

    def _slim(self, step: Transition) -> Transition:
        following, now = None, time.monotonic()
        if self._looks and now - self._pictured >= _PICTURE_EVERY_S:
            following, self._pictured = step.next_observation, now
        words = (
            {key: value for key, value in step.observation.items() if isinstance(value, str)}
            if isinstance(step.observation, Mapping)
            else None
        )
        return dataclasses.replace(step, observation=words, next_observation=following)

    def _tell(self, name: str, *arguments: Any) -> None:
        self._outbox.put(("progress", name, arguments))


class ListeningShippedProgress(ShippedProgress):
    """Tells what is asked, too."""

    def asked(self, task: Task, messages: Sequence[Message]) -> None:
        """Tell the last message, which is what is shown."""
        self._tell("asked", self._named(task), list(messages[-1:]))

    def answered(self, task: Task, reply: Reply | None) -> None:
        """Tell."""
        self._tell("answered", self._named(task), reply)

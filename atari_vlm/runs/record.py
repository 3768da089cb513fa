"""What whoever plays writes to and reads from: the journal of the run, or what a worker far from it holds of one unit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from atari_vlm.runs.journal_rows import CallRow, EpisodeRow, Phase, StepRow


class Record(Protocol):
    """The part of a :class:`~atari_vlm.runs.journal.Journal` that playing needs; the methods mean what they mean there."""

    @property
    def id(self) -> str: ...  # noqa: D102

    @property
    def path(self) -> Path: ...  # noqa: D102

    def episodes(self) -> list[EpisodeRow]: ...  # noqa: D102

    def steps(self, episode: int) -> list[StepRow]: ...  # noqa: D102

    def call(self, task: int, call: int) -> CallRow | None: ...  # noqa: D102

    def blob(self, sha: str) -> bytes: ...  # noqa: D102

    def begin_episode(self, episode: int, phase: Phase, seed: int) -> EpisodeRow: ...  # noqa: D102

    def finish_episode(self, row: EpisodeRow) -> None: ...  # noqa: D102

    def record_request(self, row: CallRow, blobs: Mapping[str, bytes]) -> None: ...  # noqa: D102

    def record_reply(  # noqa: D102
        self, task: int, call: int, reply: Mapping[str, Any], *, cached: bool = False
    ) -> None: ...

    def record_step(self, row: StepRow) -> None: ...  # noqa: D102

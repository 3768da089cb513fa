"""What acting taught: a program that mispredicted a step of the real game goes back to its writer with the way there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.records import SearchResult
from atari_vlm.synthesis.run_search import search
from atari_vlm.vlm.base import VLM


def repair(
    writer: VLM,
    program: str,
    buffer: TransitionBuffer,
    met: TransitionBuffer,
    config: SearchConfig,
    *,
    folder: str | Path | None = None,
) -> SearchResult:
    """Search on from ``program`` for one that replays the buffer and what was ``met`` while acting with it.

    ``met`` are transitions of the real environment in the order of play, episode by episode. The writer is shown the
    mispredicted one that the fewest steps lead to, with these steps. A program that replays everything already is the result
    of no call. Raises what :func:`~atari_vlm.synthesis.run_search.search` raises, and ``MismatchError`` for transitions of
    another environment.
    """
    mended = dataclasses.replace(config, start=program, replay_verify=True, held_out=0.0)
    return search(writer, buffer.followed_by(met), mended, folder=folder)

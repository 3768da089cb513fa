"""The real play of a table as a data set, so that models may learn from other play of the same kind than they are measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.evaluation.model_table.real_play import FRAME_SKIP, Play, Recorder
from atari_vlm.experience.episode_files import write_episodes
from atari_vlm.experience.episodes import IMAGE, Episode


def keep_play(path: Path, recorder: Recorder, play: Play) -> None:
    """Write ``play`` as an npz file that ``dream --dataset`` takes: the brighter of two frames at the screen's size, named
    actions, rewards, ends, and the frames of a step. A piece that stops in the middle of a game is an episode without an end.
    """
    names = recorder.action_names
    begins = [0, *(np.flatnonzero(play.ends[:-1]) + 1).tolist()]
    pieces = zip(begins, [*begins[1:], len(play.actions)], strict=True)
    episodes = [_episode(recorder, play, slice(begin, end)) for begin, end in pieces]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_episodes(path, episodes, Discrete(len(names)), FRAME_SKIP)


def _episode(recorder: Recorder, play: Play, steps: slice) -> Episode:
    """With what was seen after its last step, but for a game that was over: there the next one's first moment stands."""
    actions, ends = play.actions[steps], play.ends[steps]
    seen = slice(steps.start, steps.stop + (not ends[-1]))
    return Episode(
        {IMAGE: recorder.palette.rgb[play.moments.brighter[seen]]},
        actions,
        play.rewards[steps],
        ends,
        np.zeros(len(actions), np.bool_),
        action_names=recorder.action_names,
    )

"""Replays of small pictures for tests."""

import os
import sys
from pathlib import Path

from atari_vlm.experience.replay import Replay, picture_columns


def picture_replay(capacity, px, **options):
    """A replay of uint8 pictures ``(px, px, 3)`` and numbered actions."""
    return Replay(picture_columns((px, px, 3)), capacity, **options)


def add_step(replay, image, action, reward, terminated, truncated, env=0):
    """Add one step of it."""
    ends = {"terminated": terminated, "truncated": truncated}
    replay.add({"image": image, "action": action, "reward": reward, **ends}, env)


def with_helpers():
    """The environment of a Python that finds these helpers."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
    }

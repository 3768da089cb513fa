"""A buffer of transitions from a file of either kind."""

from __future__ import annotations

from pathlib import Path

from atari_vlm.errors import ConfigError
from atari_vlm.experience.npz_files import boundary
from atari_vlm.experience.pickled_buffers import read_pickled
from atari_vlm.experience.transition_files import read_parts
from atari_vlm.experience.transitions import TransitionBuffer


def read_buffer(path: str | Path) -> TransitionBuffer:
    """A buffer from its npz (the JSON file lies beside it), or from a pickle as the GIF-MCTS repository ships them.

    Nothing of either file is run. ``ConfigError`` for what is damaged, cut, unsafe or of another kind.
    """
    path = Path(path)
    if path.suffix == ".npz":
        with boundary(path, "is no buffer of transitions"):
            return TransitionBuffer(**read_parts(path))
    if path.suffix == ".pkl":
        with boundary(path, "is no pickled buffer that can be read safely"):
            return read_pickled(path)
    raise ConfigError(f"{path} is no buffer: an .npz file with its .json, or a .pkl file")

import os

import gymnasium
import pytest

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # ALE's window, without a screen
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


@pytest.fixture
def make():
    """gymnasium.make that closes what it made."""
    made = []

    def build(env_id="AtariVLM/Pong-v5", **kwargs):
        made.append(gymnasium.make(env_id, **kwargs))
        return made[-1]

    yield build
    for env in made:
        env.close()

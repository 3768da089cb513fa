"""Small Dreamers for tests: spaces of several kinds, a config of a few thousand weights, and learners on them."""

import dataclasses

import field_games  # noqa: F401  (registers the ids Case/...)
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from atari_vlm.settings import with_changes
from atari_vlm.training.imagination import games
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer
from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.learner import make_learner
from atari_vlm.world_models.dreamer.settings import preset
from atari_vlm.world_models.inputs import inputs_of, texts_among
from atari_vlm.world_models.learned.learner import GameFacts

SMALL = DreamerConfig(
    deter=32, hidden=16, groups=4, classes=5, depth=4, units=16, layers=1, frame_px=16, bins=15
)
STATE = Box(-10, 10, (3,), np.float32)
PICTURE = Box(0, 255, (16, 16, 3), np.uint8)
BOTH = Dict({"camera": PICTURE, "joints": STATE})
TWO, PARTS = Discrete(2, start=3), MultiDiscrete([3, 2])
FLOATS = Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32))


def small(**changes):
    """The small config with other values."""
    return dataclasses.replace(SMALL, **changes)


def facts_of(observation_space=STATE, action_space=TWO):
    """What is known of a game with these spaces."""
    inputs = inputs_of(observation_space, "a test")
    columns = {name: part.column for name, part in inputs.items()}
    names = tuple(map(str, range(action_space.n))) if isinstance(action_space, Discrete) else ()
    return GameFacts("Test-v0", columns, action_space, names, texts=texts_among(inputs))


def settings_of(facts, networks=SMALL, **changes):
    """Settings whose updates take milliseconds."""
    made = dataclasses.replace(preset("tiny", facts), networks=networks)
    quick = {
        "learning": {"batch": 3, "length": 5, "prefill": 20},
        "behaviour": {"steps": 3, "imag_last": 2},
    }
    return with_changes(with_changes(made, quick), changes)


def dreamer_trainer(folder, networks=SMALL, *, game="Case/Parts-v0", epochs=6, **run):
    """A Dreamer on two games side by side that show a picture, numbers and texts and take actions in parts: a few updates in
    each of six epochs.
    """
    facts = games.facts_of(game)
    play = {"envs": 2, "steps": 20, "eval_every": 6, "final_episodes": 2}
    play["eval_max_steps"] = 20
    learning = {"prefill": 10, "ratio": 0.3, "batch": 4}
    changes = {"learning": learning, "play": play, "capacity": 80, "epochs": epochs}
    settings = settings_of(facts, networks, **changes, checkpoint_every=1)
    return WorldModelTrainer(TrainingRun(folder, facts, settings, **run), make_learner)

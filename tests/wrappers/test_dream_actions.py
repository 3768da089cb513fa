"""Dreams take the actions of their space, of any library, and hand the model what was played."""

import numpy as np
import pytest
from gymnasium import spaces
from track import BOX, FROM_ONE, THREE, Track, TrackModel

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.base import StartFrames
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

PARTS = spaces.MultiDiscrete([3, 2], start=[0, 1])
WIDE = spaces.Box(np.float32([0.5, -1]), np.float32([1, 1]))


def dream(space, context_length=1, **options):
    model = TrackModel(space, context_length=context_length)
    world = WorldModelEnv(model, **options)
    world.reset(seed=0)
    return model, world


@pytest.mark.parametrize("space", [THREE, FROM_ONE, spaces.Discrete(2, start=-1), BOX, WIDE, PARTS])
def test_a_dream_takes_its_own_samples(space):
    model, world = dream(space)
    for _ in range(5):
        action = world.action_space.sample()
        world.step(action)
        assert model.given[-1].tolist() == [action.tolist()]
    dreams = WorldModelVectorEnv(model, 3)
    dreams.reset(seed=0)
    for actions in (dreams.action_space.sample(), list(dreams.action_space.sample())):
        dreams.step(actions)
        assert model.given[-1].dtype == (np.float32 if isinstance(space, spaces.Box) else np.int64)
    numbers = (
        range(space.start, space.start + space.n) if isinstance(space, spaces.Discrete) else ()
    )
    assert world.get_action_meanings() == list(map(str, numbers))


def test_actions_of_other_libraries():
    torch = pytest.importorskip("torch")
    model, world = dream(FROM_ONE)
    for action in (2, np.int64(2), np.array(2), torch.tensor(2), np.uint8(2)):
        world.step(action)
        assert model.given[-1].tolist() == [2]
    model, world = dream(BOX)
    for action in (np.array([0.5]), torch.tensor([0.5]), [0.5], np.array([0.5], np.float16)):
        world.step(action)
        assert model.given[-1].tolist() == [[0.5]] and model.given[-1].dtype == np.float32


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (THREE, 3),
        (THREE, 1.0),
        (THREE, [1]),
        (THREE, "1"),
        (FROM_ONE, 0),
        (PARTS, [3, 1]),
        (PARTS, [0, 0]),
        (PARTS, 1),
        (BOX, [9.0]),
        (BOX, [np.nan]),
        (BOX, 0.5),
        (BOX, [[0.5]]),
        (BOX, [True]),
    ],
)
def test_what_is_no_action_is_refused(space, action):
    model, world = dream(space)
    with pytest.raises(ConfigError, match="action"):
        world.step(action)
    dreams = WorldModelVectorEnv(TrackModel(space), 2)
    dreams.reset(seed=0)
    with pytest.raises(ConfigError, match="actions must"):
        dreams.step([action, action])
    assert not model.given


@pytest.mark.parametrize("space", [THREE, FROM_ONE, BOX, WIDE, PARTS])
def test_a_real_game_begins_and_anchors_a_dream_with_what_was_played(space):
    real = Track(space)
    model, world = dream(space, context_length=3, start=real, reanchor_every=2)
    still = np.zeros(1) if space is BOX else np.array([0.5, 0]) if space is WIDE else space.start
    _, actions = model.contexts[-1]
    assert actions.tolist() == [np.asarray(still, np.float32).tolist()] * 2
    played = []
    for _ in range(4):
        action = space.sample()
        *_, info = world.step(action)
        played.append(np.asarray(action).tolist())
    assert info["reanchored"] and model.contexts[-1][1].tolist() == played[-2:]
    assert model.contexts[-1][1].dtype == (
        np.float32 if isinstance(space, spaces.Box) else np.int64
    )


def test_start_frames_hold_actions_of_the_space():
    pictures = np.zeros((2, 2, 8, 16, 3), np.uint8)
    for space, wrong in (
        (THREE, [[3], [0]]),
        (FROM_ONE, [[0], [1]]),
        (BOX, np.full((2, 1, 1), 9.0)),
    ):
        with pytest.raises(ConfigError, match="the actions of start frames must"):
            WorldModelEnv(TrackModel(space), start=StartFrames(pictures, np.array(wrong)))
    model, _ = dream(BOX, start=StartFrames(pictures, np.full((2, 1, 1), 0.25)))
    assert model.contexts[-1][1].dtype == np.float32


def test_other_spaces_are_refused():
    model = TrackModel(spaces.MultiBinary(2))
    with pytest.raises(ConfigError, match="the world model has MultiBinary"):
        WorldModelEnv(model)

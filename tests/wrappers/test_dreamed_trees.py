"""A dreamed game of a model that shows more than its picture: the one RGB picture of it is what is seen."""

import numpy as np
import pytest
from gymnasium import spaces

from atari_vlm.errors import MismatchError
from atari_vlm.world_models import families
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.checkpoint import save_checkpoint
from atari_vlm.wrappers.dreamed_game import DreamedGame
from atari_vlm.wrappers.dreamed_vector import DreamedVectorEnv

NAMES = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
CAMERA = spaces.Box(0, 255, (12, 10, 3), np.uint8)


class Told:
    """Pong, as it were: a picture as bright as steps were made, in a tuple beside their number."""

    frame_skip, reward_transform, action_names = 4, "sign", tuple(NAMES)
    action_space = spaces.Discrete(6)
    observation_space = spaces.Tuple((spaces.Discrete(99), spaces.Dict({"camera": CAMERA})))

    def __init__(self, start=None):
        self.start = start

    def init(self, observations, actions, *, rng):
        return observations[0][:, -1]

    def step(self, state, action, *, rng):
        over = np.zeros(len(state), bool)
        return ModelStep(state + 1, np.zeros(len(state), np.float32), over)

    def decode(self, state):
        frames = np.zeros((len(state), *CAMERA.shape), np.uint8)
        frames[:] = state[:, None, None, None]
        return state.copy(), {"camera": frames}

    def imagined_text(self, state):
        return [f"step {n}" for n in state]


def load(checkpoint, **options):
    made = Told(checkpoint.start)
    if checkpoint.config.get("blind"):
        made.observation_space = spaces.Tuple((spaces.Discrete(99),))
        made.context_space = Told.observation_space
    return made


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setitem(
        families._FAMILIES, "told", (families.Family("told", f"{__name__}:load"), "a test")
    )
    state = np.zeros(2, np.int64)
    place, rest = Told().decode(state)
    observations = (place[:, None], {"camera": rest["camera"][:, None]})
    start = StartFrames(observations, np.zeros((2, 0), np.int64))

    def save(**more):
        config = {"action_names": NAMES, "frame_skip": 4, "reward_transform": "sign", **more}
        return str(save_checkpoint(tmp_path / "told", kind="told", config=config, start=start))

    return save


def test_the_picture_of_a_tree_is_the_game_s(checkpoint):
    world = DreamedGame("Pong-v5", checkpoint(), image_format="numpy", max_episode_steps=9)
    seen, info = world.reset(seed=0)
    assert info["imagined_text"] == "step 0" and not seen["image"].any()
    seen, *_, info = world.step(0)
    assert world.observation_space.contains(seen) and info["imagined_text"] == "step 1"
    assert (seen["image"] == 1).all() and (world.render() == 1).all()
    assert world.frame.shape == CAMERA.shape


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_many_of_them(checkpoint, mode):
    dreams = DreamedVectorEnv(
        2,
        "Pong-v5",
        checkpoint(),
        max_episode_steps=2,
        autoreset_mode=mode,
        render_mode="rgb_array",
    )
    dreams.reset(seed=0)
    dreams.step(np.zeros(2, int))
    seen, _, _, truncated, info = dreams.step(np.zeros(2, int))
    assert truncated.all()
    newest = np.stack(info["final_obs"]) if mode == "SameStep" else seen
    assert (newest[:, -1] == 2).all() and dreams.render()[0].shape == (210, 160, 3)


def test_a_model_without_a_picture_is_no_dreamed_game(checkpoint):
    with pytest.raises(MismatchError, match=r"shown in uint8 \(H, W, 3\); the model shows Tuple"):
        DreamedGame("Pong-v5", checkpoint(blind=True))

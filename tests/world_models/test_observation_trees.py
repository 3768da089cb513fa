"""Models of ``Dict`` observations: contexts, start frames, dreams, agents and the checker take trees of arrays."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from track import SHAPE, THREE, Track, TrackModel, play

from atari_vlm.agents import CEMAgent
from atari_vlm.checker import check_world_model
from atari_vlm.errors import CheckpointError, ConfigError, ContractError, MismatchError
from atari_vlm.planning import CEMConfig
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.checkpoint_start import pack_start, unpack_start
from atari_vlm.world_models.seeing import Eye, as_seen
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv

SPACE = spaces.Dict(
    {
        "image": spaces.Box(0, 255, SHAPE, np.uint8),
        "body": spaces.Dict({"place": spaces.Box(-99, 99, (2,), np.float32)}),
    }
)
SMALL = CEMConfig(horizon=3, population=16, elites=4, iterations=2)


class TreeTrack(Track):
    """Track that also says where the column is; with ``paints`` all of it in the same memory each time."""

    def __init__(self, space=THREE, paints=False):
        super().__init__(space, paints=paints)
        self.observation_space, self.memory = SPACE, np.zeros(2, np.float32)

    def show(self):
        self.memory = self.memory if self.paints else np.zeros(2, np.float32)
        self.memory[:] = self.x, -self.x
        return {"image": super().show(), "body": {"place": self.memory}}


class TreeModel(TrackModel):
    def __init__(self, space=THREE, context_length=2):
        super().__init__(space, context_length=context_length)
        self.observation_space, self.places = SPACE, []
        place = np.tile(np.float32([2, -2]), (1, 1, 1))
        self.start = StartFrames(
            {"image": self.start.observations, "body": {"place": place}}, self.start.actions
        )

    def init(self, observations, actions, *, rng):
        self.places.append(observations["body"]["place"][0, :, 0].tolist())
        return super().init(observations["image"], actions, rng=rng)

    def decode(self, state):
        return {
            "image": super().decode(state),
            "body": {"place": np.stack([state, -state], 1).astype(np.float32)},
        }


class Observing(TreeModel):
    def __init__(self):
        super().__init__(context_length=1)

    def observe(self, state, action, observation, *, rng):
        return observation["body"]["place"][:, 0].astype(float)


def test_the_checker_takes_trees():
    check_world_model(TreeModel(context_length=1), rows=3)
    check_world_model(Observing(), rows=3)

    class Shares(TreeModel):
        def decode(self, state):
            shown = super().decode(state)
            return {**shown, "body": {"place": shown["body"]["place"].astype(np.float64)}}

    with pytest.raises(
        ContractError, match=r"decode\(\) returns Dict.*not \{image: uint8.*place: float64 \(2,\)"
    ):
        check_world_model(Shares(context_length=1))


def test_a_dream_of_trees_is_an_environment():
    world = WorldModelEnv(TreeModel(context_length=1), max_episode_steps=5, render_mode="rgb_array")
    check_env(world, skip_render_check=True)
    first, _ = world.reset(seed=0)
    seen, *_ = world.step(2)
    assert first["body"]["place"].tolist() == [2, -2] and seen["body"]["place"].tolist() == [4, -4]
    np.testing.assert_array_equal(world.render(), seen["image"])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_many_dreams_of_trees(mode):
    dreams = WorldModelVectorEnv(
        TreeModel(context_length=1), 3, max_episode_steps=2, autoreset_mode=mode
    )
    shown, _ = dreams.reset(seed=0)
    assert dreams.observation_space.contains(shown)
    dreams.step([0, 1, 2])
    shown, _, _, truncated, info = dreams.step([0, 1, 2])
    assert truncated.all() and dreams.observation_space.contains(shown)
    if mode == "SameStep":
        assert [last["body"]["place"][0] for last in info["final_obs"]] == [2, 4, 6]
        assert shown["body"]["place"][:, 0].tolist() == [2, 2, 2]
    else:
        assert shown["body"]["place"][:, 0].tolist() == [2, 4, 6]
    if mode == "Disabled":
        shown, _ = dreams.reset(options={"reset_mask": np.array([True, False, False])})
        assert shown["body"]["place"][:, 0].tolist() == [2, 4, 6]


@pytest.mark.parametrize("paints", [True, False])
@pytest.mark.parametrize("make", [TreeModel, Observing])
def test_agents_and_anchored_dreams_see_trees_as_they_were(paints, make):
    model = make()
    decisions = play(CEMAgent(model, SMALL), TreeTrack(paints=paints))
    columns = [2, *(2 + np.cumsum([d.action for d in decisions])).tolist()]
    if make is TreeModel:
        assert model.places == [[2], *([columns[t], columns[t + 1]] for t in range(4))]
    world = WorldModelEnv(model, start=TreeTrack(paints=paints), reanchor_every=2)
    world.reset(seed=0)
    for _ in range(4):
        shown, *_, info = world.step(1)
    assert info["reanchored"] and shown["body"]["place"][0] == 6
    if make is TreeModel:
        assert model.places[-1] == [5, 6]


def test_start_frames_of_trees_are_kept_and_checked():
    model = TreeModel(context_length=1)
    again = unpack_start(pack_start(model.start), "start.npz")
    assert again.observations.keys() == model.start.observations.keys()
    np.testing.assert_array_equal(
        again.observations["body"]["place"], model.start.observations["body"]["place"]
    )
    WorldModelEnv(model, start=again).reset(seed=0)
    images, actions = model.start.observations["image"], model.start.actions
    with pytest.raises(MismatchError, match=r"the start frames are \{image: uint8"):
        WorldModelEnv(model, start=StartFrames({"image": images}, actions))
    with pytest.raises(ConfigError, match="throughout"):
        StartFrames({"image": images, "body": np.zeros((2, 1, 2))}, actions)
    with pytest.raises(ConfigError, match="without a slash"):
        pack_start(StartFrames({"a/b": images}, actions))
    plain = StartFrames(images, actions)
    assert isinstance(unpack_start(pack_start(plain), "start.npz").observations, np.ndarray)
    import io

    for names in (
        ("observations", "observations/a"),
        ("observations/a", "observations/a/b"),
        ("observationsx",),
    ):
        file = io.BytesIO()
        np.savez_compressed(file, actions=actions, **dict.fromkeys(names, images))
        with pytest.raises(CheckpointError):
            unpack_start(file.getvalue(), "start.npz")


def test_what_a_tree_lacks_is_named():
    shown = {"image": np.zeros(SHAPE, np.uint8), "body": {"place": np.zeros(2)}}
    seen = as_seen(shown, SPACE)
    assert seen["body"]["place"].dtype == np.float32 and SPACE.contains(seen)
    for wrong, message in (
        ({"image": shown["image"]}, "entry 'body'"),
        (np.zeros(3), "entry 'body'; .* ndarray without"),
    ):
        with pytest.raises(MismatchError, match=message):
            Eye(SPACE)(wrong)
    with pytest.raises(MismatchError, match="the real environment shows"):
        WorldModelEnv(TreeModel(context_length=1), start=Track(THREE))


def test_the_picture_in_a_tree_is_an_atari_screen():
    space = spaces.Dict({"image": spaces.Box(0, 255, (64, 64, 3), np.uint8)})
    env = gymnasium.make("AtariVLM/Pong-v5")
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(
        Eye(space)(observation)["image"], Eye(space["image"])(observation)
    )
    env.close()

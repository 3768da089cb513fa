"""ResizeImage and StackFrames against what they must produce."""

import gymnasium
import numpy as np
import pytest
from colour_env import HEIGHT, WIDTH, ColourDictEnv, ColourEnv, assert_same, rollout
from gymnasium.wrappers import FrameStackObservation, GrayscaleObservation, ResizeObservation
from PIL import Image as PIL

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.pil_images import to_image
from atari_vlm.wrappers import ResizeImage, StackFrames


@pytest.mark.parametrize(
    ("image_format", "grayscale", "interpolation", "keep_aspect"),
    [("pil", False, "nearest", False), ("pil", True, "nearest", True), ("pil", False, "area", True),
     ("numpy", True, "area", False), ("numpy", False, "cubic", False)],
)  # fmt: skip
def test_equals_the_environment_s_own_resizing(image_format, grayscale, interpolation, keep_aspect):
    look = {"interpolation": interpolation, "keep_aspect": keep_aspect}
    shared = {"image_format": image_format, "grayscale": grayscale}
    own = gymnasium.make("AtariVLM/Breakout-v5", resize_shape=(100, 90), **look, **shared)
    wrapped = ResizeImage(
        gymnasium.make("AtariVLM/Breakout-v5", resize_shape=None, **shared), (100, 90), **look
    )
    assert wrapped.observation_space == own.observation_space
    for one, other in zip(rollout(own, 4)[0], rollout(wrapped, 4)[0], strict=True):
        assert_same(one, other)


def test_a_pil_image_keeps_its_palette_under_nearest_only():
    image = {}
    for interpolation in ("nearest", "cubic"):
        env = ResizeImage(gymnasium.make("AtariVLM/Pong-v5"), (50, 60), interpolation)
        image[interpolation] = env.reset(seed=0)[0]["image"]
        assert isinstance(image[interpolation], PIL.Image) and image[interpolation].size == (60, 50)
    indexed, smooth = to_image(image["nearest"]), to_image(image["cubic"])
    assert indexed.indices.shape == (50, 60) and smooth.indices is None
    np.testing.assert_array_equal(indexed.palette[indexed.indices], np.asarray(image["nearest"]))


def test_area_and_cubic_equal_gymnasium_s_resizing():
    ours, theirs = (
        ResizeImage(ColourEnv(), (12, 15), "area"),
        ResizeObservation(ColourEnv(), (12, 15)),
    )
    for one, other in zip(rollout(ours)[0], rollout(theirs)[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_whole_number_multiplies_both_sides():
    plain, wrapped = rollout(ColourEnv(), 3)[0], rollout(ResizeImage(ColourEnv(), 3), 3)[0]
    for one, other in zip(plain, wrapped, strict=True):
        assert other.shape == (3 * HEIGHT, 3 * WIDTH, 3)
        np.testing.assert_array_equal(other, one.repeat(3, axis=0).repeat(3, axis=1))


def test_keep_aspect_leaves_black_borders():
    picture = ResizeImage(ColourEnv(), (HEIGHT * 2, WIDTH * 3), keep_aspect=True).reset(seed=0)[0]
    assert picture.any()
    assert not picture[:, : WIDTH // 2].any() and not picture[:, -WIDTH // 2 :].any()


def test_gray_pictures_too():
    env = StackFrames(ResizeImage(GrayscaleObservation(ColourEnv()), (10, 12)), 2)
    assert env.observation_space["frames"].shape == (2, 10, 12)
    assert env.observation_space.contains(env.reset(seed=0)[0])


@pytest.mark.parametrize(
    "shape",
    [(0, 10), (10, -1), (10,), (10, 20, 3), 0, -2, 100, True, "big", None.__class__, (10.5, 3)],
)
def test_wrong_shape_is_refused(shape):
    with pytest.raises(ConfigError):
        ResizeImage(ColourEnv(), shape)


def test_unknown_interpolation_is_refused():
    with pytest.raises(UnknownNameError, match="nearest"):
        ResizeImage(ColourEnv(), (10, 10), "lanczos")


def test_frames_are_oldest_first_and_begin_with_the_first_picture():
    plain, stacked = rollout(ColourEnv(), 8)[0], rollout(StackFrames(ColourEnv(), 3), 8)[0]
    for step, observation in enumerate(stacked):
        expected = [plain[max(0, step - back)] for back in (2, 1, 0)]
        np.testing.assert_array_equal(observation["frames"], np.stack(expected))
        np.testing.assert_array_equal(observation["image"], plain[step])


def test_frames_equal_gymnasium_s_stack():
    theirs = FrameStackObservation(ColourEnv(), 4, padding_type="reset")
    for one, other in zip(
        rollout(StackFrames(ColourEnv()), 12)[0], rollout(theirs, 12)[0], strict=True
    ):
        np.testing.assert_array_equal(one["frames"], other)


def test_frames_equal_the_environment_s_own():
    own = gymnasium.make("AtariVLM/Freeway-v5", frame_stack=5)
    wrapped = StackFrames(gymnasium.make("AtariVLM/Freeway-v5", frame_stack=1), 5)
    assert wrapped.observation_space == own.observation_space
    for one, other in zip(rollout(own)[0], rollout(wrapped)[0], strict=True):
        assert_same(one, other)


def test_frames_that_were_given_away_do_not_change():
    env = StackFrames(ColourDictEnv(), 2)
    first = env.reset(seed=0)[0]["frames"]
    kept = first.copy()
    first[:] = 7
    assert (env.step(1)[0]["frames"][0] == kept[1]).all()


@pytest.mark.parametrize("num_frames", [0, -1, 2.0, True, None, "4"])
def test_wrong_number_of_frames_is_refused(num_frames):
    with pytest.raises(ConfigError, match="num_frames"):
        StackFrames(ColourEnv(), num_frames)

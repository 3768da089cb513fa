"""The picture as a model sees it: made in one place, from the screen, copied, or refused."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import atari_vlm  # noqa: F401 (registers the ids)
from atari_vlm.errors import MismatchError
from atari_vlm.picture import resize
from atari_vlm.pil_images import source_of
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.world_models.seeing import Eye, as_seen, can_see
from atari_vlm.world_models.view import WorldView
from atari_vlm.wrappers import ResizeImage, WorldModelEnv

SMALL = spaces.Box(0, 255, (64, 64, 3), np.uint8)
UNIT = spaces.Box(0.0, 1.0, (4,), np.float32)


def game(**options):
    env = gymnasium.make("AtariVLM/Breakout-v5", render_mode="rgb_array", **options)
    observation, _ = env.reset(seed=0)
    for action in (1, 2, 3, 3):
        observation, *_ = env.step(action)
    return env, observation


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grayscale": True},
        {"resize_shape": None},
        {"interpolation": "area"},
        {"resize_shape": "x2", "keep_aspect": True},
    ],
)
def test_an_observation_s_picture_is_seen_as_in_training(options):
    env, observation = game(**options)
    trained_on = resize(env.render(), (64, 64), "area")
    np.testing.assert_array_equal(Eye(SMALL)(observation), trained_on)
    np.testing.assert_array_equal(Eye(SMALL, env.render)(observation), trained_on)
    for copied in (copy.deepcopy(observation), pickle.loads(pickle.dumps(observation))):
        np.testing.assert_array_equal(Eye(SMALL)(copied), trained_on)
    np.testing.assert_array_equal(source_of(observation["image"]), env.render())


def test_wrappers_that_resize_for_a_vlm_do_not_change_what_the_model_sees():
    env = ResizeImage(gymnasium.make("AtariVLM/Pong-v5"), (100, 120), "area")
    observation, _ = env.reset(seed=0)
    assert observation["image"].size == (120, 100)
    np.testing.assert_array_equal(Eye(SMALL)(observation), resize(env.render(), (64, 64), "area"))


def test_a_picture_made_for_other_eyes_is_refused():
    env, observation = game(image_format="numpy")
    with pytest.raises(
        MismatchError,
        match=r"learned from the screen .* shows \(224, 224, 3\): pass frame_source=env.render",
    ):
        Eye(SMALL)(observation)
    assert Eye(SMALL, env.render)(observation).shape == (64, 64, 3)
    env, observation = game(image_format="numpy", resize_shape=None)
    np.testing.assert_array_equal(Eye(SMALL)(observation), resize(env.render(), (64, 64), "area"))
    env, observation = game(image_format="numpy", resize_shape=(64, 64))
    with pytest.raises(MismatchError, match=r"learned from pictures \(210, 160, 3\)"):
        Eye(SMALL, shown_shape=(210, 160, 3))(observation)
    with pytest.raises(MismatchError, match="shows nothing"):
        Eye(SMALL, lambda: None)(observation)


def test_the_checkpoint_s_word_on_what_it_learned_from():
    eye = Eye(SMALL, shown_shape=(96, 96, 3))
    assert eye(np.zeros((96, 96, 3), np.uint8)).shape == (64, 64, 3)
    assert eye(np.zeros((64, 64, 3), np.uint8)).shape == (64, 64, 3)
    with pytest.raises(
        MismatchError, match=r"pictures \(96, 96, 3\), the observation shows \(84, 84, 3\)"
    ):
        eye(np.zeros((84, 84, 3), np.uint8))


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (SMALL, np.zeros((64, 64, 3), np.float32)),
        (SMALL, np.zeros((64, 64, 3), np.int64)),
        (SMALL, np.zeros((64, 64, 3), bool)),
        (SMALL, np.zeros((64, 64), np.uint8)),
        (SMALL, np.zeros((64, 64, 4), np.uint8)),
        (SMALL, np.zeros((32, 32, 3), np.float32)),
        (SMALL, np.full((64, 64, 3), 300, np.uint16)),
        (UNIT, np.zeros((3,), np.float32)),
        (UNIT, np.full(4, 2.0)),
        (UNIT, np.full(4, np.nan)),
        (UNIT, np.zeros((4,), bool)),
        (UNIT, np.array(["a"] * 4)),
        (spaces.Box(0, 255, (8, 8, 1), np.uint8), np.zeros((4, 4, 2), np.uint8)),
        (spaces.Box(0, 255, (4,), np.uint8), np.full(4, 1000, np.int64)),
    ],
)
def test_what_does_not_fit_names_both_sides(space, shown):
    with pytest.raises(
        MismatchError, match=f"the model sees Box.*the environment shows {shown.dtype}"
    ):
        as_seen(shown, space)


def test_numbers_keep_what_they_say():
    seen = as_seen(np.array([0.0, 0.5, 1.0, 0.25]), UNIT)
    assert seen.dtype == np.float32 and seen.tolist() == [0.0, 0.5, 1.0, 0.25]
    assert as_seen([0, 1, 0, 1], UNIT).dtype == np.float32
    gray = spaces.Box(0, 255, (8, 8, 1), np.uint8)
    assert as_seen(np.full((4, 4, 1), 7, np.uint8), gray).tolist() == np.full((8, 8, 1), 7).tolist()
    assert can_see(gray, spaces.Box(0, 255, (4, 4, 1), np.uint8)) and not can_see(gray, SMALL)
    assert can_see(SMALL, spaces.Dict({"image": SMALL})) and not can_see(
        SMALL, spaces.Box(0, 1, (64, 64, 3))
    )


@pytest.mark.parametrize("shape", [(64, 64, 3), (4,)])
def test_what_is_seen_is_a_copy(shape):
    space = spaces.Box(0, 255, shape, np.uint8)
    painted = np.zeros(shape, np.uint8)
    seen = as_seen(painted, space)
    painted[:] = 9
    assert not seen.any()


def test_an_observation_without_a_picture_says_what_it_has():
    with pytest.raises(
        MismatchError, match="shown the entry 'image'; the environment shows pixels, t"
    ):
        Eye(SMALL)({"pixels": np.zeros((64, 64, 3), np.uint8), "t": 1})


def test_float_pictures_of_a_real_game_begin_no_dream():
    real = gymnasium.wrappers.TransformObservation(
        WorldModelEnv(CatchWorldModel()),
        lambda o: o / np.float32(255),
        spaces.Box(0, 1, (64, 64, 3), np.float32),
    )
    with pytest.raises(MismatchError, match="the real environment shows Box"):
        WorldModelEnv(CatchWorldModel(), start=real)


def test_a_dream_s_picture_is_the_model_s_own_frame():
    view = WorldView(CatchWorldModel())
    observation, _ = WorldModelEnv(CatchWorldModel()).reset(seed=0)
    np.testing.assert_array_equal(view.frame(observation), observation)
    assert view.frame(observation) is not observation


def test_a_model_finds_what_it_learned_from_under_the_game_s_own_keys():
    inner = spaces.Dict({"camera": SMALL, "joints": spaces.Box(-1, 1, (2,), np.float32)})
    game = spaces.Dict({"robot": spaces.Tuple((inner, spaces.Discrete(3))), "say": spaces.Text(9)})
    reads = spaces.Dict({"image": SMALL, "state": inner["joints"], "text": spaces.Text(9)})
    aliases = {"image": "robot/0/camera", "state": "robot/0/joints", "text": "say"}
    game.seed(3)
    shown = game.sample()
    seen = Eye(reads, aliases=aliases)(shown)
    assert reads.contains(seen) and seen["text"] == shown["say"]
    np.testing.assert_array_equal(seen["image"], shown["robot"][0]["camera"])
    np.testing.assert_array_equal(seen["state"], shown["robot"][0]["joints"])
    assert reads.contains(Eye(reads, aliases=aliases)(seen))  # a dream shows them as they are
    assert can_see(reads, game, aliases) and not can_see(reads, game)
    alone = {"state": "robot/0/joints"}
    eye = Eye(inner["joints"], aliases=alone)
    np.testing.assert_array_equal(eye(shown), shown["robot"][0]["joints"])
    assert eye.sees(game) and not Eye(inner["joints"]).sees(game)
    np.testing.assert_array_equal(eye(np.ones(2, np.float32)), [1, 1])
    with pytest.raises(MismatchError, match="the entry 'robot'; the environment shows say"):
        eye({"say": "nothing"})
    with pytest.raises(MismatchError, match="the entry 2; the environment shows 0, 1"):
        Eye(inner["joints"], aliases={"state": "robot/2/joints"})(shown)

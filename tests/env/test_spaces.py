import copy
import multiprocessing

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import utils as space_utils
from gymnasium.vector import utils as vector_utils
from gymnasium.wrappers.utils import create_zero_array
from PIL import Image as PIL
from PIL import ImageDraw

from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.pil_images import to_image, to_pil
from atari_vlm.spaces import (
    PILImage,
    PrintableText,
    SharedTexts,
    autoreset_mode_of,
    observation_space,
)

SPACES = [PILImage(6, 4), PILImage(5, 7, mode="L")]


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_pil_image_space(space):
    space.seed(3)
    picture = space.sample()
    assert picture in space and space == PILImage(*space.shape[:2], mode=space.mode)
    assert np.asarray(picture) not in space and PIL.new(space.mode, (9, 9)) not in space
    assert PIL.new("RGBA", (space.shape[1], space.shape[0])) not in space
    assert space.from_jsonable(space.to_jsonable([picture])) == [picture]
    assert create_zero_array(space) in space
    flat = space_utils.flatten(space, picture)
    assert flat in space_utils.flatten_space(space) and flat.size == space_utils.flatdim(space)
    assert space_utils.unflatten(space, flat) == picture
    assert space_utils.is_space_dtype_shape_equiv(space, space)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_batches_are_arrays(space):
    pictures = [space.sample() for _ in range(3)]
    batch = vector_utils.batch_space(space, 3)
    out = vector_utils.create_empty_array(space, 3)
    joined = vector_utils.concatenate(space, pictures, out)
    assert joined in batch and joined is out
    assert all(
        np.array_equal(row, np.asarray(picture))
        for row, picture in zip(joined, pictures, strict=True)
    )
    assert vector_utils.batch_differing_spaces([space] * 3) == batch
    shared = vector_utils.create_shared_memory(space, 3, multiprocessing)
    for index, picture in enumerate(pictures):
        vector_utils.write_to_shared_memory(space, index, picture, shared)
    assert np.array_equal(vector_utils.read_from_shared_memory(space, shared, 3), joined)


def test_spaces_that_differ_are_unequal():
    assert PILImage(6, 4) != PILImage(4, 6) != gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8)
    assert not space_utils.is_space_dtype_shape_equiv(PILImage(6, 4), PILImage(4, 6))


def test_wrong_arguments():
    for wrong in (
        lambda: PILImage(0, 4),
        lambda: PILImage(4, 4, mode="P"),
        lambda: PILImage(4, 4).sample(mask=1),
    ):
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ConfigError, match="pil, numpy"):
        observation_space((4, 4), 1, image_format="torch")


def test_text_space_takes_the_empty_and_the_printable():
    space = PrintableText(8)
    assert "" in space and "a b\n\t~" in space and "é" not in space and "123456789" not in space


def test_shared_texts_show_what_was_written_last():
    space = PrintableText(12)
    shared = vector_utils.create_shared_memory(space, 2, multiprocessing)
    texts = vector_utils.read_from_shared_memory(space, shared, 2)
    assert copy.deepcopy(texts) == ("", "")
    for index, text in ((0, "a longer one"), (1, "b"), (0, "c d\n")):
        vector_utils.write_to_shared_memory(space, index, text, shared)
        assert texts[index] == text
    assert copy.deepcopy(texts) == ("c d\n", "b") and texts[0:1] == ("c d\n",) and len(texts) == 2


def test_to_image_keeps_the_palette_while_it_shows_the_image():
    env = AtariVLMEnvironment("Breakout")
    observation, _ = env.reset(seed=0)
    picture = observation["image"]
    kept = to_image(picture)
    assert np.array_equal(kept.palette[kept.indices], kept.pixels)
    assert np.array_equal(kept.pixels, observation["frames"][-1])
    assert kept == to_image(observation["frames"][-1]) and len(kept.png) < len(
        to_image(observation["frames"][-1]).png
    )
    assert to_image(picture.copy()).indices is not None
    drawn = picture.copy()
    ImageDraw.Draw(drawn).point((3, 3), "white")
    for changed in (drawn, picture.resize((100, 100)), picture.rotate(90), picture.convert("L")):
        image = to_image(changed)
        assert image.indices is None
        assert np.array_equal(image.pixels, np.asarray(changed.convert("RGB")))


def test_to_image_takes_arrays():
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(to_image(gray).pixels, np.asarray(to_pil(gray).convert("RGB")))
    for wrong in (gray.astype(float), gray[0]):
        with pytest.raises(ConfigError, match="uint8"):
            to_image(wrong)


def test_a_picture_that_is_painted_over_later_was_copied():
    for shape in ((4, 4, 3), (4, 4)):
        painted = np.zeros(shape, np.uint8)
        kept = to_image(painted)
        painted[:] = 9
        assert not kept.pixels.any()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_an_autoreset_mode_is_known_by_name_and_as_itself(mode):
    assert autoreset_mode_of(mode).value == mode
    assert autoreset_mode_of(autoreset_mode_of(mode)) is autoreset_mode_of(mode)


@pytest.mark.parametrize("wrong", ["nextstep", "", None, 1])
def test_an_unknown_autoreset_mode_is_answered_with_the_known_ones(wrong):
    with pytest.raises(UnknownNameError, match="known: Disabled, NextStep, SameStep"):
        autoreset_mode_of(wrong)


def test_shared_texts_are_read_anew_and_a_copy_stays():
    memory = np.zeros((2, 8), np.uint8)
    texts = SharedTexts(memory)
    assert list(texts) == ["", ""] and len(texts) == 2
    memory[1, :3] = list(b"abc")
    kept = copy.deepcopy(texts)
    assert texts[1] == texts[-1] == "abc" and texts[:] == ("", "abc")
    memory[1] = 0
    assert texts[1] == "" and kept == ("", "abc")

"""What is done to pictures before a VLM sees them: sizes, layouts, axes; with a palette plane and without."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.agents.pictures import scaled, tiled, with_axes
from atari_vlm.types import Image

PALETTE = np.arange(16 * 3, dtype=np.uint8).reshape(16, 3) * 5


def picture(height=20, width=30, *, indexed=False, seed=0):
    indices = np.random.default_rng(seed).integers(0, 16, (height, width), dtype=np.uint8)
    pixels = PALETTE[indices]
    return Image(pixels, indices, PALETTE) if indexed else Image(pixels)


@given(factor=st.floats(0.01, 4), indexed=st.booleans())
def test_a_scaled_picture_has_the_rounded_size_and_at_least_a_pixel(factor, indexed):
    size = scaled(picture(indexed=indexed), factor).pixels.shape
    assert size == (max(1, round(20 * factor)), max(1, round(30 * factor)), 3)


def test_a_picture_at_its_own_size_is_itself():
    image = picture(indexed=True)
    assert scaled(image, 1) is image and tiled([image], "strip") == (image,)


@pytest.mark.parametrize("factor", [2, 3, 1.5])
def test_enlarging_keeps_the_plane_and_means_the_same_pixels(factor):
    plain, indexed = scaled(picture(), factor), scaled(picture(indexed=True), factor)
    assert indexed == plain and indexed.indices is not None
    assert np.array_equal(PALETTE[indexed.indices], indexed.pixels)
    assert scaled(picture(indexed=True), 0.5).indices is None


@given(count=st.integers(2, 10), indexed=st.booleans())
def test_every_picture_of_a_grid_stands_whole_and_in_reading_order(count, indexed):
    images = [picture(seed=number, indexed=indexed) for number in range(count)]
    (whole,) = tiled(images, "grid")
    columns = (whole.pixels.shape[1] + 4) // 34
    rows = (whole.pixels.shape[0] + 4) // 24
    assert rows * columns >= count > (rows - 1) * columns and abs(rows - columns) <= 1
    for number, image in enumerate(images):
        top, left = number // columns * 24, number % columns * 34
        assert np.array_equal(whole.pixels[top : top + 20, left : left + 30], image.pixels)


def test_pictures_of_several_sizes_share_a_strip():
    small, large = picture(5, 6), picture(20, 30, seed=1)
    (whole,) = tiled([small, large], "strip")
    assert whole.pixels.shape == (20, 30 + 4 + 30, 3)
    assert np.array_equal(whole.pixels[:5, :6], small.pixels)
    assert np.array_equal(whole.pixels[:, 34:], large.pixels)
    assert (whole.pixels[5:, :34] == 255).all()


def test_separate_pictures_stay_as_they_are():
    images = [picture(), picture(5, 6)]
    assert tiled(images, "images") == tuple(images) and tiled([], "grid") == ()


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("indexed", [False, True])
def test_axes_add_a_margin_and_cover_nothing(factor, indexed):
    image = picture(210, 160, indexed=indexed)
    framed = with_axes(image, factor)
    assert framed.pixels.shape == (16 + 210, 30 + 160, 3)
    assert np.array_equal(framed.pixels[16:, 30:], image.pixels)
    assert (framed.indices is not None) is indexed
    margin = framed.pixels[:16].reshape(-1, 3)
    assert {tuple(colour) for colour in margin.tolist()} == {(255, 255, 255), (48, 48, 48)}


def test_axes_are_the_same_with_and_without_a_palette_plane():
    assert with_axes(picture(210, 160)) == with_axes(picture(210, 160, indexed=True))

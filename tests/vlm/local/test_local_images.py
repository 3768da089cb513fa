"""Own preprocessing against the stock processor."""

import numpy as np
import pytest
from conftest import picture

from atari_vlm.vlm.local.images import PatchProcessor, clip_video, fast_processor, resized


def stock_processors():
    from transformers import Glm4vImageProcessorPil, Qwen2VLImageProcessorPil

    return {
        "qwen2-vl": Qwen2VLImageProcessorPil(),
        "qwen3-vl": Qwen2VLImageProcessorPil(
            patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ),
        "glm4v": Glm4vImageProcessorPil(),
    }


@pytest.mark.parametrize("name", ["qwen2-vl", "qwen3-vl", "glm4v"])
def test_same_numbers_where_nothing_is_resized(name):
    stock = stock_processors()[name]
    pixels = np.random.default_rng(0).integers(0, 256, (224, 448, 3), dtype=np.uint8)
    expected, ours = stock(pixels, return_tensors="np"), PatchProcessor(stock)(pixels)
    assert (expected["image_grid_thw"] == ours["image_grid_thw"]).all()
    assert ours["pixel_values"].dtype == np.float32
    np.testing.assert_allclose(ours["pixel_values"], expected["pixel_values"], atol=1e-6)


@pytest.mark.parametrize("size", [(210, 160), (480, 640), (84, 84), (630, 480)])
def test_close_where_resized(size):
    """On hard-edged screens: the same grid; on average within 1.5 of 255 levels (a level is 1 / 255 / std, about 0.015)."""
    stock = stock_processors()["qwen2-vl"]
    pixels = picture(1, *size).pixels
    expected, ours = stock(pixels, return_tensors="np"), PatchProcessor(stock)(pixels)
    assert (expected["image_grid_thw"] == ours["image_grid_thw"]).all()
    assert np.abs(ours["pixel_values"] - expected["pixel_values"]).mean() < 1.5 * 0.015


def test_only_a_processor_that_agrees_is_replaced():
    from transformers import CLIPImageProcessorPil, Qwen2VLImageProcessorPil

    assert isinstance(fast_processor(Qwen2VLImageProcessorPil()), PatchProcessor)
    assert fast_processor(CLIPImageProcessorPil()) is None
    assert fast_processor(Qwen2VLImageProcessorPil(do_normalize=False)) is None


def test_stock_images_by_option(model, request_of):
    fast = model("qwen2-vl")._encoder.encode(request_of(0))
    stock = model("qwen2-vl", fast_images=False)._encoder.encode(request_of(0))
    assert (fast.ids == stock.ids).all()
    assert (fast.pieces[0].tensors["pixel_values"] != stock.pieces[0].tensors["pixel_values"]).any()


def test_resizing():
    pixels = picture(2).pixels
    assert resized(pixels, (210, 160)) is pixels
    assert resized(pixels, (420, 320)).shape == (420, 320, 3)
    flat = np.full((210, 160, 3), 77, np.uint8)
    assert (resized(flat, (84, 84)) == 77).all() and (resized(flat, (448, 448)) == 77).all()


def test_video_of_a_window():
    """Two frames become eight, four of each, whole screens, normalised as CLIP's processor does."""
    from transformers import CLIPImageProcessorPil

    mean, std = (
        np.array(v, np.float32)
        for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    frames = [picture(seed, 56, 56).pixels for seed in (1, 2)]
    video = clip_video(frames, 8, 56, mean, std)
    stock = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    expected = stock(frames, return_tensors="np")["pixel_values"]
    assert video.shape == (8, 3, 56, 56)
    np.testing.assert_allclose(video, expected[[0, 0, 0, 0, 1, 1, 1, 1]], atol=1e-5)
    assert clip_video([picture(3).pixels], 8, 56, mean, std).shape == (8, 3, 56, 56)

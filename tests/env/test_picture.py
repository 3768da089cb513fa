import functools
import io
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PIL

from atari_vlm.env.camera import Camera, CameraConfig
from atari_vlm.env.emulator import Emulator, EmulatorConfig
from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError
from atari_vlm.picture import (
    TwoFrames,
    brighter_of,
    encode_png,
    palette_for,
    palettes,
    resize,
    target_shape,
    to_ansi,
)

NTSC, PAL = palettes()


def decode(png):
    return np.asarray(PIL.open(io.BytesIO(png)).convert("RGB"))


def played(game, steps=40, seed=0):
    emulator = Emulator(EmulatorConfig(game))
    emulator.reset(seed)
    actions = np.random.default_rng(seed).integers(len(emulator.action_names), size=steps).tolist()
    for action in actions:
        emulator.step(action)
        yield emulator


@pytest.mark.parametrize(
    ("game", "palette"), [("Pong", NTSC), ("AirRaid", PAL), ("SirLancelot", PAL)]
)
def test_palette_is_the_emulators(game, palette):
    for emulator in played(game):
        ale = emulator.ale
        assert emulator.palette is palette
        assert np.array_equal(palette.rgb[ale.getScreen()], ale.getScreenRGB())
        even = ale.getScreen() % 2 == 0
        assert np.array_equal(palette.gray[ale.getScreen()][even], ale.getScreenGrayscale()[even])


def test_palette_for_refuses_foreign_colours():
    with pytest.raises(MismatchError, match="neither"):
        palette_for(np.zeros((2, 2), np.uint8), np.full((2, 2, 3), 7, np.uint8))


def test_a_screen_that_both_palettes_could_draw_goes_by_its_height():
    for height, palette in ((210, NTSC), (250, PAL)):
        assert (
            palette_for(np.zeros((height, 160), np.uint8), np.zeros((height, 160, 3), np.uint8))
            is palette
        )


def test_rank_orders_by_brightness_without_ties():
    for palette in palettes():
        order = np.argsort(palette.rank)
        assert sorted(palette.rank.tolist()) == list(range(256))
        assert (np.diff(palette.gray[order].astype(int)) >= 0).all()


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_two_frames_blend_is_brighter_of(seed, density):
    rng = np.random.default_rng(seed)
    frames = TwoFrames((10, 16), NTSC.rank)
    for _ in range(3):
        before = frames.plane.copy()
        base = rng.integers(0, 256, (10, 16), dtype=np.uint8)
        frames.first[:], frames.second[:] = base, base
        spots = rng.random((10, 16)) < density
        frames.second[spots] = rng.integers(0, 256, int(spots.sum()), dtype=np.uint8)
        changed = frames.blend()
        expected = brighter_of(frames.first, frames.second, NTSC.rank)
        assert np.array_equal(frames.plane, expected)
        assert np.array_equal(expected, brighter_of(frames.second, frames.first, NTSC.rank))
        gray = np.maximum(NTSC.gray[frames.first], NTSC.gray[frames.second])
        assert np.array_equal(NTSC.gray[expected], gray)
        assert set(np.flatnonzero((before != expected).ravel()) // 8) <= set(changed.tolist())


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=60, deadline=None)
def test_nearest_takes_the_pixel_below_the_centre(height, width, to_height, to_width):
    source = np.random.default_rng(height * 97 + width).integers(
        0, 256, (height, width), dtype=np.uint8
    )
    rows = [int(Fraction(2 * i + 1, 2) * height / to_height) for i in range(to_height)]
    columns = [int(Fraction(2 * i + 1, 2) * width / to_width) for i in range(to_width)]
    resized = resize(source, (to_height, to_width))
    assert resized.tolist() == [[int(source[row, column]) for column in columns] for row in rows]


def test_resizing_indices_then_painting_is_resizing_the_rgb_picture():
    emulator = list(played("Breakout"))[-1]
    for shape in [(224, 224), (336, 336), (448, 448), (630, 480)]:
        picture, indices = Camera(
            CameraConfig(shape), emulator.palette, emulator.screen_shape
        ).shoot(emulator.plane)
        pillow = PIL.fromarray(emulator.screen()).resize(shape[::-1], PIL.Resampling.NEAREST)
        assert np.array_equal(picture, np.asarray(pillow))
        png = encode_png(picture, indices=indices, palette=emulator.palette.rgb)
        assert np.array_equal(decode(png), picture)


LOOKS = [
    CameraConfig(None),
    CameraConfig((224, 224)),
    CameraConfig((100, 37), keep_aspect=True),
    CameraConfig("x2", grayscale=True),
    CameraConfig((84, 84), grayscale=True, interpolation="area"),
    CameraConfig((105, 80), interpolation="area"),
    CameraConfig((64, 64), interpolation="area"),
    CameraConfig((90, 84), grayscale=True, interpolation="area"),
    CameraConfig((300, 200), interpolation="area"),
    CameraConfig((84, 84), interpolation="area", keep_aspect=True),
    CameraConfig((224, 224), interpolation="cubic"),
]


@functools.cache
def recorded(game):
    """The planes of 30 steps, where they changed, the palette and the screen's shape."""
    planes = [
        (emulator.plane.copy(), emulator.changed) for emulator in played(game, steps=30, seed=3)
    ]
    emulator = Emulator(EmulatorConfig(game))
    return planes, emulator.palette, emulator.screen_shape


@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize("game", ["Pong", "Riverraid"])
def test_camera_gives_what_a_fresh_camera_gives(look, game):
    planes, palette, screen_shape = recorded(game)
    camera = Camera(look, palette, screen_shape)
    for step, (plane, changed) in enumerate(planes):
        picture, indices = camera.shoot(plane, changed if step else None)
        fresh, _ = Camera(look, palette, screen_shape).shoot(plane)
        assert np.array_equal(picture, fresh)
        table = palette.gray if look.grayscale else palette.rgb
        if look.interpolation == "nearest":
            assert np.array_equal(table[indices], picture)
        else:
            full = resize(
                table[plane], camera.shape, look.interpolation, keep_aspect=look.keep_aspect
            )
            assert np.array_equal(picture, full)


def test_area_is_opencvs():
    emulator = list(played("Pong"))[-1]
    picture, indices = Camera(
        CameraConfig((84, 84), True, "area"), emulator.palette, (210, 160)
    ).shoot(emulator.plane)
    expected = cv2.resize(
        emulator.palette.gray[emulator.plane], (84, 84), interpolation=cv2.INTER_AREA
    )
    assert np.array_equal(picture, expected) and indices is None


def test_keep_aspect_puts_the_picture_in_the_middle():
    white = np.full((210, 160), 255, np.uint8)
    picture = resize(white, (224, 224), keep_aspect=True)
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    assert (rows[0], rows[-1]) == (0, 223)
    assert (columns[0], columns[-1]) == (26, 196)
    assert resize(white, (10, 300), keep_aspect=True).any(0).sum() == 8


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 256), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_indexed_png_round_trip(height, width, colours, seed):
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    indices = rng.choice(256, colours, replace=False).astype(np.uint8)[
        rng.integers(0, colours, (height, width))
    ]
    png = encode_png(palette[indices], indices=indices, palette=palette)
    assert np.array_equal(decode(png), palette[indices])
    assert np.array_equal(
        cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], palette[indices]
    )


@pytest.mark.parametrize("colours", [1, 2, 16, 17, 256])
@pytest.mark.parametrize("width", [1, 7, 8, 161])
def test_indexed_png_of_repeated_rows(width, colours):
    rng = np.random.default_rng(width * colours)
    palette = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    rows = rng.integers(0, colours, (4, width)).astype(np.uint8)
    for order in ([0], [0, 0, 0], [0, 1, 1, 0, 0, 2, 3, 3], [3, 2, 1, 0]):
        indices = rows[order]
        assert np.array_equal(
            decode(encode_png(np.empty(0), indices=indices, palette=palette)), palette[indices]
        )


def test_rgb_png_round_trip():
    pixels = np.random.default_rng(0).integers(0, 256, (33, 21, 3), dtype=np.uint8)
    assert np.array_equal(decode(encode_png(pixels)), pixels)
    gray = pixels[..., 0].copy()
    assert np.array_equal(decode(encode_png(gray)), np.repeat(gray[..., None], 3, 2))


@pytest.mark.parametrize(
    "wrong", [(0, 5), (5, -1), (3, 3, 3), "3x", "x0", "x100", 84, (1.5, 2), (True, 5), [84]]
)
def test_wrong_sizes(wrong):
    with pytest.raises(ConfigError, match="resize_shape"):
        target_shape(wrong, (210, 160))


def test_sizes():
    assert target_shape(None, (250, 160)) == (250, 160)
    assert target_shape("x3", (210, 160)) == (630, 480)
    assert target_shape([84, 96], (210, 160)) == (84, 96)
    with pytest.raises(UnknownNameError, match="area"):
        resize(np.zeros((4, 4), np.uint8), (2, 2), "bilinear")


def test_ansi_is_as_wide_as_asked():
    lines = to_ansi(np.zeros((210, 160, 3), np.uint8), columns=40).splitlines()
    assert len(lines) == 26 and all(line.count("▀") == 40 for line in lines)

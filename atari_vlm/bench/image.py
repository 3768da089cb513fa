"""Pictures: from the emulator's screen to the PNG bytes that a vendor is sent."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image as PIL

from atari_vlm.bench.measure import Case, Unit
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.picture import encode_png, palette_for, resize
from atari_vlm.pil_images import to_image

COUNT = 20
GAMES = ("Pong", "Breakout")


def cases(peers: dict[str, str]) -> list[Case]:
    """All comparisons; ``peers`` is not used, the peer is Pillow."""
    all_cases = [_screen_to_png(game, size) for game in GAMES for size in (224, 336)]
    return [*all_cases, *(_observation_to_png(game) for game in GAMES)]


def _played(game: str) -> AtariVLMEnvironment:
    """An environment in the middle of a game."""
    env = AtariVLMEnvironment(game)
    env.reset(seed=0)
    for action in np.random.default_rng(0).integers(int(env.action_space.n), size=100).tolist():  # type: ignore[attr-defined]
        env.step(action)
    return env


def _screen_to_png(game: str, size: int) -> Case:
    ale = _played(game).ale
    palette = palette_for(ale.getScreen(), ale.getScreenRGB()).rgb

    def ours() -> bytes:
        indices = resize(ale.getScreen(), (size, size))
        return encode_png(np.empty(0), indices=indices, palette=palette)

    def peer() -> bytes:
        picture = PIL.fromarray(ale.getScreenRGB()).resize((size, size), PIL.Resampling.BICUBIC)
        return _pillow_png(picture)

    note = "read the screen, resize (ours: nearest on the palette plane; peer: Pillow's default, bicubic), encode"
    return Case(
        f"screen to PNG bytes, {game}, {size} px",
        "getScreenRGB, PIL bicubic, PIL PNG",
        _times(ours),
        _times(peer),
        10.0,
        "higher",
        COUNT,
        note=f"{note}; {len(ours())} bytes against {len(peer())}",
    )


def _observation_to_png(game: str) -> Case:
    picture = _played(game).step(0)[0]["image"]

    def ours() -> bytes:
        return to_image(picture).png

    return Case(
        f"obs['image'] to PNG bytes, {game}, 224 px",
        "PIL PNG of the same image",
        _times(ours),
        _times(lambda: _pillow_png(picture)),
        2.0,
        "higher",
        COUNT,
        note="what an agent pays: read the PIL image, check that its palette plane still shows it, encode",
    )


def _pillow_png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _times(work: Callable[[], bytes]) -> Unit:
    def repeated() -> None:
        for _ in range(COUNT):
            work()

    return repeated

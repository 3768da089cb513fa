"""Pictures of another size."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Space
from PIL import Image as PIL

from atari_vlm.errors import UnknownNameError
from atari_vlm.picture import INTERPOLATIONS, resize, target_shape
from atari_vlm.pil_images import carry_source, source_of, to_image, to_pil
from atari_vlm.spaces import PILImage
from atari_vlm.wrappers.views import as_dict, dict_spaces, is_picture, picture_space, pictures


class ResizeImage(
    gymnasium.ObservationWrapper[Any, Any, Any], gymnasium.utils.RecordConstructorArgs
):
    """Resize the picture of an observation, and its ``frames`` if it has them.

    Args:
        env: an environment with a picture (see ``views.picture_space``).
        shape: (height, width) in pixels, or a whole number that multiplies both.
        interpolation: ``nearest`` (invents no colour; keeps the palette plane of a PIL image), ``area``, ``cubic``.
        keep_aspect: put the picture, undistorted, in the middle of a black one.

    Raises ``ConfigError`` for an observation without picture and for a wrong shape, ``UnknownNameError`` for another
    interpolation.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        shape: tuple[int, int] | int = (224, 224),
        interpolation: str = "nearest",
        keep_aspect: bool = False,
    ):
        gymnasium.utils.RecordConstructorArgs.__init__(
            self, shape=shape, interpolation=interpolation, keep_aspect=keep_aspect
        )
        super().__init__(env)
        if interpolation not in INTERPOLATIONS:
            raise UnknownNameError("interpolation", interpolation, INTERPOLATIONS)
        picture = picture_space(env.observation_space, "ResizeImage")
        scale = isinstance(shape, (int, np.integer)) and not isinstance(shape, bool)
        self.shape = target_shape(f"x{shape}" if scale else shape, picture.shape[:2])  # type: ignore[arg-type,index]
        self.interpolation, self.keep_aspect = interpolation, keep_aspect
        spaces = {
            key: self._resized_space(key, space)
            for key, space in dict_spaces(env.observation_space).items()
        }
        self.observation_space = (
            Dict(spaces) if isinstance(env.observation_space, Dict) else spaces["image"]
        )
        self._has_frames = "frames" in spaces and is_picture(spaces["frames"], leading=1)

    def observation(self, observation: Any) -> Any:
        """The same observation with resized pictures."""
        if not isinstance(observation, dict):
            return self._resize(observation)
        resized = as_dict(observation)
        image = resized["image"]
        resized["image"] = (
            self._resize_pil(image) if isinstance(image, PIL.Image) else self._resize(image)
        )
        if self._has_frames:
            resized["frames"] = np.stack([self._resize(frame) for frame in resized["frames"]])
        return resized

    def _resized_space(self, key: str, space: Space[Any]) -> Space[Any]:
        if isinstance(space, PILImage):
            return PILImage(*self.shape, mode=space.mode)
        shape = space.shape or ()
        if key == "image":
            return pictures((*self.shape, *shape[2:]))
        if key == "frames" and is_picture(space, leading=1):
            return pictures((shape[0], *self.shape, *shape[3:]))
        return space

    def _resize(self, picture: np.ndarray) -> np.ndarray:
        return resize(picture, self.shape, self.interpolation, keep_aspect=self.keep_aspect)

    def _resize_pil(self, image: PIL.Image) -> PIL.Image:
        source = source_of(image)
        resized = self._resized_pil(image)
        return resized if source is None else carry_source(resized, source)

    def _resized_pil(self, image: PIL.Image) -> PIL.Image:
        if image.mode == "L":
            return to_pil(self._resize(np.asarray(image)))
        part = to_image(image)
        if part.indices is None or self.interpolation != "nearest":
            return to_pil(self._resize(part.pixels))
        return to_pil(
            self._resize(part.pixels), indices=self._resize(part.indices), palette=part.palette
        )

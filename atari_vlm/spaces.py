"""Spaces of the observations: a PIL image, printable text, and the dictionary of all of them.

A vector of PIL images is one uint8 array ``(N, H, W, 3)``: batching, shared memory and flattening know :class:`PILImage`
through gymnasium's own single-dispatch functions, registered at the end of this file.
"""

from __future__ import annotations

import copy
import functools
import multiprocessing
import string
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import utils as space_utils
from gymnasium.vector import AutoresetMode
from gymnasium.vector import utils as vector_utils
from gymnasium.wrappers.utils import create_zero_array
from PIL import Image as PIL

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.pil_images import to_image as to_image  # its documented name is here
from atari_vlm.pil_images import to_pil

Env = gymnasium.Env[Any, Any]
MAX_TEXT, MAX_ACTION_LIST, MAX_PROMPT = 512, 4096, 16_384
IMAGE_FORMATS = ("pil", "numpy")


class PILImage(gymnasium.Space[PIL.Image]):
    """PIL images of one size: mode ``"RGB"``, or ``"L"`` (gray). As arrays they are uint8 ``(height, width[, 3])``."""

    def __init__(
        self,
        height: int,
        width: int,
        mode: str = "RGB",
        seed: int | np.random.Generator | None = None,
    ):
        if mode not in ("RGB", "L"):
            raise ConfigError(f"mode must be 'RGB' or 'L', got {mode!r}")
        if height < 1 or width < 1:
            raise ConfigError(f"height and width must be greater than 0, got {height} and {width}")
        self.mode = mode
        if "minari.serialization" in sys.modules:
            _tell_minari()
        super().__init__((height, width, 3) if mode == "RGB" else (height, width), np.uint8, seed)

    @property
    def box(self) -> gymnasium.spaces.Box:
        """The same pictures as arrays."""
        return gymnasium.spaces.Box(0, 255, self.shape, np.uint8)

    @property
    def is_np_flattenable(self) -> bool:
        """A picture can be one flat uint8 array."""
        return True

    def sample(self, mask: Any = None, probability: Any = None) -> PIL.Image:
        """A picture of random pixels; masks are refused."""
        if mask is not None or probability is not None:
            raise ConfigError("PILImage.sample takes no mask and no probability")
        return to_pil(self.np_random.integers(0, 256, self.shape, dtype=np.uint8))

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a PIL image of this size and mode."""
        return (
            isinstance(x, PIL.Image) and x.mode == self.mode and (x.height, x.width) == self._size
        )

    @property
    def _size(self) -> tuple[int, ...]:
        assert self.shape is not None
        return self.shape[:2]

    def to_jsonable(self, sample_n: Iterable[PIL.Image]) -> list[Any]:
        """Nested lists of numbers."""
        return [np.asarray(picture).tolist() for picture in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[PIL.Image]:
        """The inverse of :meth:`to_jsonable`."""
        return [to_pil(np.array(picture, np.uint8)) for picture in sample_n]

    def __repr__(self) -> str:
        return f"PILImage({self._size[0]}, {self._size[1]}, {self.mode!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PILImage) and self.shape == other.shape and self.mode == other.mode


@functools.cache
def _tell_minari() -> None:
    """Minari stores arrays; without this its error would only say that it knows no such space."""
    from minari.serialization import serialize_space

    @serialize_space.register(PILImage)
    def _refuse(space: PILImage, to_string: bool = True) -> str:
        raise ConfigError(
            "Minari stores arrays, no PIL images: make the environment with image_format='numpy'"
        )


class PrintableText(gymnasium.spaces.Text):
    """Printable ASCII of any length up to ``max_length``, the empty string included.

    Gymnasium's ``AsyncVectorEnv`` reads its shared memory once and keeps what it got, which never shows a new text; texts of this
    space are therefore read again whenever they are looked at or copied (:class:`SharedTexts`).
    """

    def __init__(self, max_length: int, seed: int | np.random.Generator | None = None):
        super().__init__(max_length, min_length=0, charset=string.printable, seed=seed)


class SharedTexts(Sequence[str]):
    """The texts that lie in shared memory now, NUL-padded ASCII uint8 ``(n, max_length)``; a deep copy is a tuple of strings."""

    def __init__(self, memory: np.ndarray):
        self._memory = memory

    def __len__(self) -> int:
        return len(self._memory)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self)[index]
        return self._memory[index].tobytes().rstrip(b"\0").decode("ascii")

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[str, ...]:
        return tuple(self)


def text_space(max_length: int) -> PrintableText:
    """The space of every text of this package."""
    return PrintableText(max_length)


def observation_space(
    shape: tuple[int, int],
    frame_stack: int,
    *,
    grayscale: bool = False,
    image_format: str = "pil",
    prompt: bool = False,
) -> gymnasium.spaces.Dict:
    """The observation space of every environment of this package whose pictures are ``shape`` = (height, width)."""
    if image_format not in IMAGE_FORMATS:
        raise ConfigError(
            f"image_format must be one of {', '.join(IMAGE_FORMATS)}, got {image_format!r}"
        )
    image = PILImage(*shape, mode="L" if grayscale else "RGB")
    frames = gymnasium.spaces.Box(0, 255, (frame_stack, *(image.shape or ())), np.uint8)
    spaces: dict[str, gymnasium.Space[Any]] = {
        "image": image if image_format == "pil" else image.box,
        "frames": frames,
        "text": text_space(MAX_TEXT),
        "action_space": text_space(MAX_ACTION_LIST),
    }
    if prompt:
        spaces["prompt"] = text_space(MAX_PROMPT)
    return gymnasium.spaces.Dict(spaces)


def autoreset_mode_of(name: str | AutoresetMode) -> AutoresetMode:
    """Gymnasium's mode of that name: ``NextStep``, ``SameStep`` or ``Disabled``; else ``UnknownNameError``."""
    try:
        return AutoresetMode(name)
    except ValueError:
        known = [mode.value for mode in AutoresetMode]
        raise UnknownNameError("autoreset_mode", name, known) from None


def _stack(items: Iterable[PIL.Image | np.ndarray], out: np.ndarray) -> np.ndarray:
    """Write pictures into the rows of ``out``."""
    for row, item in enumerate(items):
        out[row] = item
    return out


@vector_utils.batch_space.register(PILImage)
def _batch_space(space: PILImage, n: int = 1) -> gymnasium.Space[Any]:
    return vector_utils.batch_space(space.box, n)


@vector_utils.batch_differing_spaces.register(PILImage)
def _batch_differing_spaces(spaces: Sequence[PILImage]) -> gymnasium.Space[Any]:  # type: ignore[misc]
    return vector_utils.batch_differing_spaces([space.box for space in spaces])


@vector_utils.batch_differing_spaces.register(PrintableText)
def _batch_differing_texts(spaces: Sequence[PrintableText]) -> gymnasium.spaces.Tuple:  # type: ignore[misc]
    return gymnasium.spaces.Tuple([copy.deepcopy(space) for space in spaces])


@vector_utils.concatenate.register(PILImage)
def _concatenate(space: PILImage, items: Iterable[PIL.Image], out: np.ndarray) -> np.ndarray:
    return _stack(items, out)


@vector_utils.create_empty_array.register(PILImage)
def _create_empty_array(
    space: PILImage, n: int = 1, fn: Callable[..., np.ndarray] = np.zeros
) -> np.ndarray:
    return fn((n, *(space.shape or ())), dtype=np.uint8)


@vector_utils.create_shared_memory.register(PILImage)
def _create_shared_memory(space: PILImage, n: int = 1, ctx: ModuleType = multiprocessing) -> Any:
    return vector_utils.create_shared_memory(space.box, n, ctx)


@vector_utils.read_from_shared_memory.register(PILImage)
def _read_from_shared_memory(space: PILImage, shared_memory: Any, n: int = 1) -> Any:
    return vector_utils.read_from_shared_memory(space.box, shared_memory, n)


@vector_utils.write_to_shared_memory.register(PILImage)
def _write_to_shared_memory(
    space: PILImage, index: int, value: PIL.Image, shared_memory: Any
) -> None:
    vector_utils.write_to_shared_memory(space.box, index, np.asarray(value), shared_memory)


@vector_utils.create_shared_memory.register(PrintableText)
def _create_shared_texts(
    space: PrintableText, n: int = 1, ctx: ModuleType = multiprocessing
) -> Any:
    return ctx.Array("B", n * space.max_length)


@vector_utils.read_from_shared_memory.register(PrintableText)
def _read_shared_texts(space: PrintableText, shared_memory: Any, n: int = 1) -> Any:
    return SharedTexts(
        np.frombuffer(shared_memory.get_obj(), np.uint8).reshape(n, space.max_length)
    )


@vector_utils.write_to_shared_memory.register(PrintableText)
def _write_shared_text(space: PrintableText, index: int, value: str, shared_memory: Any) -> None:
    memory = np.frombuffer(shared_memory.get_obj(), np.uint8).reshape(-1, space.max_length)
    memory[index] = np.frombuffer(value.encode("ascii").ljust(space.max_length, b"\0"), np.uint8)


@create_zero_array.register(PILImage)
def _create_zero_array(space: PILImage) -> PIL.Image:  # type: ignore[misc]
    return to_pil(np.zeros(space.shape or (), np.uint8))


@space_utils.is_space_dtype_shape_equiv.register(PILImage)
def _is_equivalent(space_1: PILImage, space_2: gymnasium.Space[Any]) -> bool:
    return space_1 == space_2


@space_utils.flatdim.register(PILImage)
def _flatdim(space: PILImage) -> int:
    return int(np.prod(space.shape or ()))


@space_utils.flatten.register(PILImage)
def _flatten(space: PILImage, x: PIL.Image) -> np.ndarray:  # type: ignore[misc]
    return np.asarray(x).ravel()


@space_utils.unflatten.register(PILImage)
def _unflatten(space: PILImage, x: np.ndarray) -> PIL.Image:  # type: ignore[misc]
    return to_pil(np.asarray(x, np.uint8).reshape(space.shape or ()))


@space_utils.flatten_space.register(PILImage)
def _flatten_space(space: PILImage) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(0, 255, (_flatdim(space),), np.uint8)

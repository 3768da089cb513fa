"""Start frames as a compressed npz: a tree of observations, each leaf under the path that leads to it.

``observations/body/place`` lies in nested dicts; a part in round brackets is no key of a dict: ``observations/(1)`` is the
second entry of a tuple, ``observations/text/(utf-8)`` are texts as their bytes, uint8 ``(N, T, L)`` filled up with 255, which no
text contains.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from atari_vlm.errors import CheckpointError, ConfigError, reading
from atari_vlm.experience.npz_files import Header, arrays_in
from atari_vlm.trees import texts
from atari_vlm.world_models.base import StartFrames

_MOST_BYTES = 1 << 31  # unpacked
_ROOT, _TEXT, _FILLED = "observations", "(utf-8)", 255
_ENTRY = re.compile(r"\((\d{1,4})\)")


def pack_start(start: StartFrames) -> bytes:
    """Start frames as a compressed npz; ``ConfigError`` for what its names or types cannot say."""
    arrays: dict[str, Any] = dict(_named(_ROOT, start.observations))
    file = io.BytesIO()
    np.savez_compressed(file, **arrays, actions=start.actions)
    return file.getvalue()


def _named(name: str, observations: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Every leaf as an array, with its name."""
    if isinstance(observations, dict):
        if wrong := [key for key in observations if not _is_key(key)]:
            raise ConfigError(
                f"start frames are named by words without a slash or round brackets around them, got {wrong}"
            )
        for key, part in observations.items():
            yield from _named(f"{name}/{key}", part)
    elif isinstance(observations, tuple):
        for index, part in enumerate(observations):
            yield from _named(f"{name}/({index})", part)
    elif observations.dtype == object:
        yield f"{name}/{_TEXT}", _bytes_of(observations)
    else:
        yield name, observations


def _is_key(key: Any) -> bool:
    return (
        isinstance(key, str)
        and bool(key)
        and "/" not in key
        and not (key[0] == "(" and key[-1] == ")")
    )


def _bytes_of(strings: np.ndarray) -> np.ndarray:
    """Texts ``(N, T)`` as uint8 ``(N, T, L)``."""
    try:
        encoded = [text.encode() for text in strings.ravel()]
    except (AttributeError, UnicodeEncodeError) as error:
        raise ConfigError(f"the texts of start frames are strings of UTF-8: {error}") from error
    length = max(1, *map(len, encoded))
    padded = b"".join(text.ljust(length, bytes([_FILLED])) for text in encoded)
    return np.frombuffer(padded, np.uint8).reshape(*strings.shape, length)


def unpack_start(raw: bytes, where: str) -> StartFrames:
    """Read start frames; ``CheckpointError`` for another content, for Python objects, and for what unpacks to too much."""
    with reading(where, CheckpointError):
        arrays = arrays_in(io.BytesIO(raw), lambda name: True, _check)
        if any(
            array.dtype.kind == "f" and not np.isfinite(array).all() for array in arrays.values()
        ):
            raise ValueError("it holds numbers that are none")
        actions = arrays.pop("actions")
        below = {
            name[len(_ROOT) :].removeprefix("/"): array for name, array in sorted(arrays.items())
        }
        return StartFrames(_tree(below), actions)


def _tree(arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse of :func:`_named`, without the first part of the names."""
    if "" in arrays or _TEXT in arrays:
        (array,) = arrays.values()
        return array if "" in arrays else _texts_of(array)
    below: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        head, _, rest = name.partition("/")
        below.setdefault(head, {})[rest] = array
    entries = [_ENTRY.fullmatch(head) for head in below]
    if not any(entries):
        if not all(map(_is_key, below)):
            raise ValueError(f"it names {', '.join(below)[:80]}")
        return {head: _tree(parts) for head, parts in below.items()}
    return tuple(_tree(below[f"({index})"]) for index in range(len(below)))


def _texts_of(padded: np.ndarray) -> np.ndarray:
    rows = padded.reshape(-1, padded.shape[-1])
    strings = [row.tobytes().rstrip(bytes([_FILLED])).decode() for row in rows]
    return texts(strings).reshape(padded.shape[:-1])


def _check(headers: Mapping[str, Header]) -> None:
    shown = [name for name in headers if re.fullmatch(rf"{_ROOT}(/[^/]+)*", name)]
    size = sum(header.nbytes for header in headers.values())
    if headers.keys() != {"actions", *shown} or not shown or size > _MOST_BYTES:
        raise ValueError(f"it must hold observations and actions of at most {_MOST_BYTES} bytes")
    fit = headers["actions"].dtype.kind in "if" and all(_is_leaf(n, headers[n]) for n in shown)
    if not fit:
        types = ", ".join(str(header.dtype) for header in headers.values())
        raise ValueError(f"its arrays are of the types {types}")


def _is_leaf(name: str, header: Header) -> bool:
    if name.endswith(f"/{_TEXT}"):
        return header.dtype == np.uint8 and len(header.shape) == 3
    return header.dtype.kind in "fiub"

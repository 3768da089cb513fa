"""Which of a game's inputs a Dreamer reads and shows again: pictures, vectors and texts, found by themselves where not given."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.experience.columns import Column
from atari_vlm.world_models.dreamer.config import DreamerConfig, KeysConfig
from atari_vlm.world_models.inputs import described


@dataclass(frozen=True)
class Keys:
    """The inputs that are read, by kind and name, at the size they are read at; ``shown`` are those that are shown again."""

    pictures: Mapping[str, Column]
    vectors: Mapping[str, Column]
    texts: Mapping[str, Column]
    shown: tuple[str, ...]

    @property
    def seen(self) -> dict[str, Column]:
        """What is read as numbers: pictures and vectors."""
        return {**self.pictures, **self.vectors}

    @property
    def columns(self) -> dict[str, Column]:
        """All that is read."""
        return {**self.pictures, **self.vectors, **self.texts}


def keys_of(
    config: DreamerConfig,
    inputs: Mapping[str, Column],
    whose: str,
    texts: Collection[str] = (),
    aliases: Mapping[str, str] | None = None,
) -> Keys:
    """What a Dreamer of these sizes makes of what ``whose`` game shows, of which ``texts`` are bytes of texts.

    ``aliases`` lead from the game's own keys, by which ``config`` may ask, to the names of the inputs.

    Raises ``UnknownNameError`` for a key that is not there, with those that are, and ``ConfigError`` where none is left.
    """
    config, own = (
        by_name(config, aliases or {}),
        {name: key for key, name in (aliases or {}).items()},
    )
    sorted_in: dict[str, dict[str, Column]] = {"cnn": {}, "mlp": {}, "text": {}}
    for name, column in inputs.items():
        sorted_in["text" if name in texts else _kind(column)][name] = column
    read = {
        kind: _selected(keys.encoder, sorted_in[kind], f"{kind}_keys.encoder", own)
        for kind, keys in _by_kind(config).items()
    }
    shown: list[str] = []
    for kind, keys in _by_kind(config).items():
        shown += _selected(keys.decoder, read[kind], f"{kind}_keys.decoder", own)
    if not any(read.values()):
        raise ConfigError(
            f"nothing is left to learn from: {whose} shows {described(inputs) or 'nothing'}"
        )
    px = config.frame_px
    pictures = {
        name: Column((px, px, column.shape[-1]), "uint8", on_disk=True)
        for name, column in read["cnn"].items()
    }
    return Keys(pictures, read["mlp"], read["text"], tuple(shown))


def by_name(config: DreamerConfig, aliases: Mapping[str, str]) -> DreamerConfig:
    """The same, its keys by the names of the inputs; ``aliases`` lead there from the game's own keys."""

    def named(keys: Sequence[str] | None) -> tuple[str, ...] | None:
        return None if keys is None else tuple(aliases.get(key, key) for key in keys)

    changed: dict[str, Any] = {
        f"{kind}_keys": KeysConfig(named(keys.encoder), named(keys.decoder))
        for kind, keys in _by_kind(config).items()
    }
    return dataclasses.replace(config, **changed)


def _by_kind(config: DreamerConfig) -> dict[str, KeysConfig]:
    return {"cnn": config.cnn_keys, "mlp": config.mlp_keys, "text": config.text_keys}


def _kind(column: Column) -> str:
    """Bytes in three axes are a picture."""
    return "cnn" if column.dtype == "uint8" and len(column.shape) == 3 else "mlp"


def _selected(
    names: Sequence[str] | None, present: Mapping[str, Column], where: str, own: Mapping[str, str]
) -> dict[str, Column]:
    """The named ones, or all; ``own`` are the game's keys where they are not the names."""
    for name in names or ():
        if name not in present:
            raise UnknownNameError(
                f"key of {where}", own.get(name, name), [own.get(n, n) for n in present]
            )
    return dict(present) if names is None else {name: present[name] for name in names}

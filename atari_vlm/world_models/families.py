"""Families of world models: the only place that spells one. Strings only, nothing is loaded here."""

from __future__ import annotations

LOADERS = {
    "catch": "atari_vlm.world_models.catch:load",
    "solo-pong": "atari_vlm.world_models.toy_pong:load",
    "rem": "atari_vlm.world_models.rem.model:load",
    "dreamer": "atari_vlm.world_models.dreamer.model:load",
    "code": "atari_vlm.world_models.code.model:load",
}

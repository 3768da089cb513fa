"""LLM Dreamer V3: DreamerV3 whose memory is a Mamba language model and which reads and tells a language token."""

from __future__ import annotations

import dataclasses

from atari_vlm.errors import UnknownNameError
from atari_vlm.world_models.dreamer.config import CoreConfig, DreamerConfig
from atari_vlm.world_models.dreamer.settings import DreamerSettings, Learning
from atari_vlm.world_models.dreamer.settings import preset as dreamer_preset
from atari_vlm.world_models.learned.learner import GameFacts

PRESETS = ("default", "tiny", "source")
_CORES = {
    "default": CoreConfig("mamba", 4, {"width": 512, "layers": 2}),
    "tiny": CoreConfig("mamba", 4, {"width": 128, "layers": 2}),
    "source": CoreConfig("mamba", 4, {"width": 768, "layers": 2}),
}


def preset(name: str, facts: GameFacts) -> DreamerSettings:
    """Settings for a game: the posterior sees the observation alone, so that sequences are read at once.

    ``default`` has a memory of 512 and batches of 16 x 64; ``tiny`` is for one CPU thread; ``source`` has the widths and
    batches of 4 x 4 that the experiment file asks for. Errors as of Dreamer's own presets.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset of LLM Dreamer V3", name, PRESETS)
    made = dreamer_preset("tiny" if name == "tiny" else "1m", facts)
    made = dataclasses.replace(made, networks=_networks(name, made.networks))
    if name != "source":
        return made
    learning = Learning(batch=4, length=4, ratio=1.0, prefill=128)
    return dataclasses.replace(made, learning=learning)


def _networks(name: str, networks: DreamerConfig) -> DreamerConfig:
    core, width = _CORES[name], int(_CORES[name].sizes["width"])
    made = dataclasses.replace(networks, core=core, posterior="observation", deter=width)
    if name == "tiny":
        return made
    return dataclasses.replace(made, hidden=width, units=width, classes=32, depth=32)

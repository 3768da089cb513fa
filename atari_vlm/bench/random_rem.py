"""REM of preset ``rem`` with random weights and four actions: what the benchmarks of dreams and of planning in them measure."""

from __future__ import annotations

import torch
from gymnasium.spaces import Discrete

from atari_vlm.world_models.learned.learner import GameFacts
from atari_vlm.world_models.learned.model import LearnedOptions, ModelFacts
from atari_vlm.world_models.rem.model import RemWorldModel
from atari_vlm.world_models.rem.settings import preset
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel

PRESET = "rem"
FACTS = GameFacts("Breakout", {}, Discrete(4), ("NOOP", "FIRE", "RIGHT", "LEFT"), 4)


def random_rem(*precisions: str) -> tuple[RemWorldModel, ...]:
    """A model per precision (``f32``, ``bf16``), all with the same weights; the same in every call, for one CPU thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = preset(PRESET, FACTS).networks
    tokenizer, network = Tokenizer(config.tokenizer).eval(), TokenWorldModel(config).eval()
    network.use_codes(torch.randn_like(network.codes))
    facts = ModelFacts(FACTS.action_names)
    return tuple(
        RemWorldModel(config, tokenizer, network, facts, LearnedOptions(precision=precision))
        for precision in precisions
    )

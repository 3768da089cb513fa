"""A Catch of 5 x 5 cells as a gymnasium id, for runs in other processes: ``--game small_catch:SmallCatch-v0``."""

import gymnasium

from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.wrappers import WorldModelEnv

gymnasium.register(
    "SmallCatch-v0", lambda **options: WorldModelEnv(CatchWorldModel(5, 5, cell_px=4), **options)
)

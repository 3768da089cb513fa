"""Sequence cores: what carries a world model's memory from one position to the next."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "BlockGruCore": "atari_vlm.world_models.dreamer.cores.block_gru",
    "GruCore": "atari_vlm.world_models.dreamer.cores.gru",
    "MambaCore": "atari_vlm.world_models.dreamer.cores.mamba",
    "ProjectedCore": "atari_vlm.world_models.dreamer.cores.projected",
    "SequenceCore": "atari_vlm.world_models.dreamer.cores.base",
    "check_core": "atari_vlm.world_models.dreamer.cores.checking",
    "core_kinds": "atari_vlm.world_models.dreamer.cores.make",
    "make_core": "atari_vlm.world_models.dreamer.cores.make",
    "register_core": "atari_vlm.world_models.dreamer.cores.make",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

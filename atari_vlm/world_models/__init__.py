"""World models: protocol, checkpoint format, exact reference models, and the learned ones."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "Checkpoint": "atari_vlm.world_models.checkpoint",
    "CatchWorldModel": "atari_vlm.world_models.catch",
    "CueWorldModel": "atari_vlm.world_models.cue",
    "EmulatorWorldModel": "atari_vlm.world_models.emulator",
    "EnvironmentWorldModel": "atari_vlm.world_models.environment",
    "ModelStep": "atari_vlm.world_models.base",
    "SoloPongWorldModel": "atari_vlm.world_models.toy_pong",
    "WorldModel": "atari_vlm.world_models.base",
    "build_model": "atari_vlm.world_models.checkpoint",
    "load_world_model": "atari_vlm.world_models.checkpoint",
    "read_checkpoint": "atari_vlm.world_models.checkpoint",
    "save_checkpoint": "atari_vlm.world_models.checkpoint",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

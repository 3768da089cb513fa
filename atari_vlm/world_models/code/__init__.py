"""World models that are programs: the sandbox they run in, the model over it, what is wrong with one, and its score."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "CodeWorldModel": "atari_vlm.world_models.code.model",
    "LocalProgram": "atari_vlm.world_models.code.sandbox_local",
    "ProgramProduct": "atari_vlm.world_models.code.product",
    "ProgramScore": "atari_vlm.world_models.code.scoring",
    "RowSteps": "atari_vlm.world_models.code.sandbox_rows",
    "Sandbox": "atari_vlm.world_models.code.sandbox",
    "golden": "atari_vlm.world_models.code.shipped",
    "check_program": "atari_vlm.world_models.code.checking",
    "score_program": "atari_vlm.world_models.code.scoring",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

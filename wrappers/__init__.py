"""Gymnasium wrappers. Import as ``atari_vlm.wrappers``."""

if __name__ != "atari_vlm.wrappers":
    raise ImportError(
        f"this package is atari_vlm.wrappers; it was imported as {__name__!r}: use `import atari_vlm.wrappers`"
    )

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "AtariObjects": "atari_vlm.wrappers.atari_objects",
    "LatencyAware": "atari_vlm.wrappers.latency",
    "ObjectTable": "atari_vlm.wrappers.object_table",
    "ResizeImage": "atari_vlm.wrappers.resize_image",
    "StackFrames": "atari_vlm.wrappers.stack_frames",
    "TextDescription": "atari_vlm.wrappers.text_description",
    "VLMPrompt": "atari_vlm.wrappers.vlm_prompt",
    "WorldModelEnv": "atari_vlm.wrappers.world_model_env",
    "WorldModelVectorEnv": "atari_vlm.wrappers.world_model_vector_env",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

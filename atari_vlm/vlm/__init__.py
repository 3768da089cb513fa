"""Vision-language models: the protocol, one file per vendor or model family, shipped fakes, and what composes around them."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "BudgetVLM": "atari_vlm.vlm.layers.budget",
    "CachedVLM": "atari_vlm.vlm.layers.cache",
    "Image": "atari_vlm.types",
    "Message": "atari_vlm.types",
    "NearestExampleVLM": "atari_vlm.vlm.nearest_example",
    "RecordingVLM": "atari_vlm.vlm.layers.cassette",
    "Reply": "atari_vlm.types",
    "ReplayVLM": "atari_vlm.vlm.layers.cassette",
    "Sampling": "atari_vlm.vlm.base",
    "ScriptedVLM": "atari_vlm.vlm.scripted",
    "Text": "atari_vlm.types",
    "Usage": "atari_vlm.types",
    "VLM": "atari_vlm.vlm.base",
    "load_vlm": "atari_vlm.vlm.load",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

"""Tuning: vision-language models whose weights learn to play, by the turn."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "TaughtDecision": "atari_vlm.training.tuning.teaching",
    "TuningDecision": "atari_vlm.training.tuning.data",
    "decisions": "atari_vlm.training.tuning.data",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

"""What was played, as arrays."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "TransitionBuffer": "atari_vlm.experience.transitions",
    "fill_replay_buffer": "atari_vlm.synthesis.benchmark.collecting",
    "read_buffer": "atari_vlm.experience.transition_reading",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

"""Results tables, statistics and the HTML replay of a run."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "BootstrapConfig": "atari_vlm.scores.statistics",
    "Estimate": "atari_vlm.scores.statistics",
    "aggregate": "atari_vlm.scores.statistics",
    "aggregates": "atari_vlm.scores.statistics",
    "human_normalise": "atari_vlm.scores.statistics",
    "performance_profile": "atari_vlm.scores.comparisons",
    "probability_of_improvement": "atari_vlm.scores.comparisons",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

"""Results tables, statistics and the HTML replay of a run."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "BootstrapConfig": "atari_vlm.reporting.statistics",
    "Estimate": "atari_vlm.reporting.statistics",
    "aggregate": "atari_vlm.reporting.statistics",
    "aggregates": "atari_vlm.reporting.statistics",
    "human_normalise": "atari_vlm.reporting.statistics",
    "performance_profile": "atari_vlm.reporting.comparisons",
    "probability_of_improvement": "atari_vlm.reporting.comparisons",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

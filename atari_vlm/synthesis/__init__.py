"""Programs written by a language model: a search asks it for world models in Python, and keeps the one that predicts best."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "SearchConfig": "atari_vlm.synthesis.config",
    "SearchNode": "atari_vlm.synthesis.records",
    "SearchResult": "atari_vlm.synthesis.records",
    "search": "atari_vlm.synthesis.run_search",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

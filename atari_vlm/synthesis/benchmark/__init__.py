"""The environments that programs are written for: the 18 of the Code World Models Benchmark, and a game with a manual."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "BenchmarkEnv": "atari_vlm.synthesis.benchmark.catalogue",
    "RisingCEM": "atari_vlm.synthesis.benchmark.players",
    "ManualGame": "atari_vlm.synthesis.benchmark.manual_game",
    "benchmark_ids": "atari_vlm.synthesis.benchmark.catalogue",
    "find_env": "atari_vlm.synthesis.benchmark.catalogue",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

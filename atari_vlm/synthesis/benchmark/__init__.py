"""The environments that programs are written for: the 18 of the Code World Models Benchmark, and a game with a manual."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "BenchmarkEnv": "atari_vlm.synthesis.benchmark.catalogue",
    "Evaluation": "atari_vlm.synthesis.benchmark.evaluation",
    "Held": "atari_vlm.synthesis.benchmark.evaluation",
    "ManualGame": "atari_vlm.synthesis.benchmark.manual_game",
    "PlanningSettings": "atari_vlm.synthesis.benchmark.planning",
    "RisingCEM": "atari_vlm.synthesis.benchmark.players",
    "benchmark_ids": "atari_vlm.synthesis.benchmark.catalogue",
    "evaluate_program": "atari_vlm.synthesis.benchmark.evaluation",
    "find_env": "atari_vlm.synthesis.benchmark.catalogue",
    "normalised_return": "atari_vlm.synthesis.benchmark.normalised",
    "planned_returns": "atari_vlm.synthesis.benchmark.planning",
    "saved_programs": "atari_vlm.synthesis.benchmark.evaluation",
    "write_evaluation": "atari_vlm.synthesis.benchmark.evaluation",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

"""Planners over the ``WorldModel`` protocol alone: scoring given plans, and searching for one."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "CEMConfig": "atari_vlm.planning.cross_entropy",
    "MCTSConfig": "atari_vlm.planning.simulation",
    "MPPIConfig": "atari_vlm.planning.path_integral",
    "PlanScores": "atari_vlm.planning.scoring",
    "cem": "atari_vlm.planning.cross_entropy",
    "mcts": "atari_vlm.planning.tree_search",
    "mppi": "atari_vlm.planning.path_integral",
    "random_shooting": "atari_vlm.planning.scoring",
    "score_plans": "atari_vlm.planning.scoring",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

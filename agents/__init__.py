"""Agents: what decides. Import as ``atari_vlm.agents``; the bare name belongs to another distribution."""

if __name__ != "atari_vlm.agents":
    raise ImportError(
        f"this package is atari_vlm.agents; it was imported as {__name__!r}: use `import atari_vlm.agents`"
    )

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "ActionBuffer": "atari_vlm.agents.action_buffer",
    "CEMAgent": "atari_vlm.agents.planners",
    "MCTSAgent": "atari_vlm.agents.planners",
    "VLMWorldModelAgent": "atari_vlm.agents.compat",
    "VLMPlansCEMAgent": "atari_vlm.agents.vlm_planners",
    "VLMPriorMCTSAgent": "atari_vlm.agents.vlm_planners",
    "ClaudeAgent": "atari_vlm.agents.vendors",
    "CogVLM2Agent": "atari_vlm.agents.vendors",
    "GPT4VAgent": "atari_vlm.agents.vendors",
    "GeminiAgent": "atari_vlm.agents.vendors",
    "Idefics2Agent": "atari_vlm.agents.vendors",
    "LlavaAgent": "atari_vlm.agents.vendors",
    "PolicyAgent": "atari_vlm.agents.policy_agent",
    "QwenVLAgent": "atari_vlm.agents.vendors",
    "RandomAgent": "atari_vlm.agents.simple",
    "ScriptedAgent": "atari_vlm.agents.simple",
    "VLMAgent": "atari_vlm.agents.vlm_agent",
    "VideoLlavaAgent": "atari_vlm.agents.vendors",
    "WorldModelAgent": "atari_vlm.agents.world_model_agent",
    "make_agent": "atari_vlm.agents.make",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

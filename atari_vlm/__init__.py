"""Vision-language models that play Atari, and the world models they plan in, on the Gymnasium API.

Importing the package registers the gym ids (``AtariVLM/Pong-v5`` ...) and loads neither torch nor a vendor SDK.
"""

from atari_vlm._lazy import attach
from atari_vlm.registration import (
    register_all,
    register_control_suite,
    register_object_games,
)
from atari_vlm.world_models.families import register_families

__version__ = "0.1.0"

_FACES = {  # what these packages show is shown here too
    "agents": """ActionBuffer CEMAgent ClaudeAgent CogVLM2Agent GPT4VAgent GeminiAgent Idefics2Agent LlavaAgent MCTSAgent
        PolicyAgent QwenVLAgent RandomAgent ScriptedAgent VLMAgent VLMPlansCEMAgent VLMPriorMCTSAgent VLMWorldModelAgent
        VideoLlavaAgent WorldModelAgent make_agent""",
    "wrappers": """AtariObjects LatencyAware ObjectTable ResizeImage StackFrames TextDescription VLMPrompt WorldModelEnv
        WorldModelVectorEnv""",
    "vlm": "Message RecordingVLM ReplayVLM Reply ScriptedVLM VLM load_vlm",
    "world_models": "CatchWorldModel EmulatorWorldModel WorldModel load_world_model",
    "world_models.code": "CodeWorldModel Sandbox",
    "planning": "cem mcts random_shooting score_plans",
    "reporting": "aggregate",
}
_ENTRY_POINTS = {
    "AtariVLMEnvironment": "atari_vlm.env.environment",
    "VLMTrainer": "atari_vlm.training.in_context.trainer",
    **{name: f"atari_vlm.{face}" for face, names in _FACES.items() for name in names.split()},
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

register_all()
register_object_games()
register_control_suite()
register_families()

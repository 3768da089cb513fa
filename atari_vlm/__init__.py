"""Vision-language models that play Atari, and the world models they plan in, on the Gymnasium API.

Importing the package registers the gym ids (``AtariVLM/Pong-v5`` ...) and loads neither torch nor a vendor SDK.
"""

from atari_vlm._lazy import attach
from atari_vlm.registration import register_all
from atari_vlm.world_models.families import register_families

__version__ = "0.1.0"

_ENTRY_POINTS = {
    "AtariVLMEnvironment": "atari_vlm.env.environment",
    "VLMTrainer": "atari_vlm.training.in_context.trainer",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

register_all()
register_families()

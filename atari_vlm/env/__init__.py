"""The real game: an Atari emulator as a Gymnasium environment, one at a time or several at once."""

from atari_vlm._lazy import attach

_ENTRY_POINTS = {
    "AtariVLMEnvironment": "atari_vlm.env.environment",
    "AtariVLMVectorEnv": "atari_vlm.env.vector",
    "for_gymnasium": "atari_vlm.env.environment",
}
__getattr__, __dir__, __all__ = attach(__name__, _ENTRY_POINTS)

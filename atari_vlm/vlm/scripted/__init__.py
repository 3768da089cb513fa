"""The bundled player that needs no model: it sees what a vision-language model sees, and really plays."""

from atari_vlm.vlm.scripted.player import PLAYERS, ScriptedVLM

__all__ = ["PLAYERS", "ScriptedVLM"]

"""The task set ``atari-vlm-games`` for verifiers, which imports a task set by its id, in processes of its own too."""

from atari_vlm.integrations.verifiers import AtariEnv, AtariTaskset, load_environment

__all__ = ["AtariEnv", "AtariTaskset", "load_environment"]

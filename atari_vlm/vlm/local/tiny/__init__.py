"""Tiny checkpoints with random weights, built offline: for tests, for trying things out, for the documentation.

They are saved in the files of a real checkpoint of the same family and are loaded by the same code. What they say is noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atari_vlm._lazy import load, require
from atari_vlm.errors import UnknownNameError

_BUILDERS = {
    "qwen2-vl": "atari_vlm.vlm.local.tiny.qwen:build_qwen2_vl",
    "qwen2.5-vl": "atari_vlm.vlm.local.tiny.qwen:build_qwen2_5_vl",
    "qwen3-vl": "atari_vlm.vlm.local.tiny.qwen:build_qwen3_vl",
    "qwen3.5": "atari_vlm.vlm.local.tiny.qwen:build_qwen3_5",
    "glm4v": "atari_vlm.vlm.local.tiny.glm:build_glm4v",
    "llava-next": "atari_vlm.vlm.local.tiny.llava:build_llava_next",
    "llava-onevision": "atari_vlm.vlm.local.tiny.llava:build_llava_onevision",
    "video-llava": "atari_vlm.vlm.local.tiny.llava:build_video_llava",
    "idefics2": "atari_vlm.vlm.local.tiny.idefics:build_idefics2",
    "idefics3": "atari_vlm.vlm.local.tiny.idefics:build_idefics3",
    "smolvlm": "atari_vlm.vlm.local.tiny.idefics:build_smolvlm",
    "llama": "atari_vlm.vlm.local.tiny.text:build_llama",
    "qwen3": "atari_vlm.vlm.local.tiny.text:build_qwen3",
    "gemma3": "atari_vlm.vlm.local.tiny.text:build_gemma3",
}

TINY_FAMILIES = tuple(_BUILDERS)


def build_tiny(family: str, folder: str | Path, *, seed: int = 0, **sizes: Any) -> Path:
    """Build ``family``'s tiny checkpoint in ``folder`` and return the folder.

    ``sizes`` replace fields of the language model's configuration (``hidden_size=512``, ``num_hidden_layers=8`` ...). The
    weights depend on ``seed`` only; torch's random state is left as it was. Raises ``UnknownNameError`` for another family.
    """
    if family not in _BUILDERS:
        raise UnknownNameError("tiny family", family, _BUILDERS)
    torch = require("torch", "local")
    require("transformers", "local")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        load(_BUILDERS[family])(folder, sizes)
    return folder

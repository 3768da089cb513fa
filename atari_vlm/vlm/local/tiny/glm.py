"""Tiny GLM-4V (GLM-4.1V)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atari_vlm.vlm.local.tiny.parts import save, text_sizes, tiny_tokenizer

_TOKENS = {
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}
_TEMPLATE = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m['role'] }}|>\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|begin_of_image|><|image|><|end_of_image|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def build_glm4v(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny GLM-4V."""
    from transformers import Glm4vConfig, Glm4vForConditionalGeneration, Glm4vImageProcessorPil

    roles = ["[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"]
    tokenizer = tiny_tokenizer([*_TOKENS.values(), *roles], pad="<|endoftext|>", eos="<|user|>")
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.5,
        "mrope_section": [1, 1, 2],
    }
    text = text_sizes(tokenizer, sizes, rope_parameters=rope)
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": text["hidden_size"],
        "intermediate_size": 64,
        "num_heads": 4,
        "image_size": 112,
    }
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _TOKENS.items()}
    model = Glm4vForConditionalGeneration(
        Glm4vConfig(text_config=text, vision_config=vision, **ids)
    )
    images = Glm4vImageProcessorPil(
        size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 2 * 64}
    )
    save(folder, model, tokenizer, _TEMPLATE, images, processor_class="Glm4vProcessor")

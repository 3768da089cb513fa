"""Tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atari_vlm.vlm.local.tiny.parts import save, text_sizes, tiny_tokenizer

IMAGES = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_ROPE = {"rope_type": "default", "rope_theta": 1e6}


def _start() -> tuple[Any, dict[str, int]]:
    tokenizer = tiny_tokenizer([*IMAGES, "<|im_start|>"], pad="<|endoftext|>", eos="<|im_end|>")
    return tokenizer, special_ids(tokenizer)


def special_ids(tokenizer: Any) -> dict[str, int]:
    """The configuration's entries for the tokens that stand for pictures."""
    names = ("image", "video", "vision_start", "vision_end")
    return {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in zip(names, IMAGES, strict=True)
    }


def _text(tokenizer: Any, sizes: Mapping[str, Any], **rope: Any) -> dict[str, Any]:
    """Sizes with rotary sections that fit the head width: a quarter for time, the rest halved (Qwen2-VL's split)."""
    text = text_sizes(tokenizer, sizes)
    half = text["hidden_size"] // text["num_attention_heads"] // 2
    sections = [half // 4, (half - half // 4) // 2, (half - half // 4) - (half - half // 4) // 2]
    return {**text, "rope_parameters": {**_ROPE, "mrope_section": sections, **rope}}


def _images(patch: int = 14) -> Any:
    from transformers import Qwen2VLImageProcessorPil

    unit = (2 * patch) ** 2
    return Qwen2VLImageProcessorPil(patch_size=patch, min_pixels=unit, max_pixels=unit * 64)


def build_qwen2_vl(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Qwen2-VL."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    tokenizer, ids = _start()
    text = _text(tokenizer, sizes)
    vision = {
        "depth": 2,
        "embed_dim": 64,
        "hidden_size": text["hidden_size"],
        "num_heads": 4,
        "mlp_ratio": 2,
    }
    model = Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(text_config=text, vision_config=vision, **ids)
    )
    save(folder, model, tokenizer, TEMPLATE, _images(), processor_class="Qwen2VLProcessor")


def build_qwen2_5_vl(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Qwen2.5-VL."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer, ids = _start()
    text = _text(tokenizer, sizes)
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": text["hidden_size"],
        "intermediate_size": 64,
        "num_heads": 4,
        "window_size": 112,
        "fullatt_block_indexes": [1],
    }
    model = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    )
    save(folder, model, tokenizer, TEMPLATE, _images(), processor_class="Qwen2_5_VLProcessor")


def build_qwen3_vl(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Qwen3-VL."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tokenizer, ids = _start()
    text = _text(tokenizer, sizes, mrope_interleaved=True)
    text["head_dim"] = text["hidden_size"] // text["num_attention_heads"]
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": text["hidden_size"],
        "intermediate_size": 64,
        "num_heads": 4,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    model = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
    )
    save(folder, model, tokenizer, TEMPLATE, _images(16), processor_class="Qwen3VLProcessor")


def build_qwen3_5(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Qwen3.5: one layer of linear attention, one of full attention."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    tokenizer, ids = _start()
    text = {
        **_text(
            tokenizer,
            sizes,
            partial_rotary_factor=0.5,
            mrope_section=[2, 1, 1],
            mrope_interleaved=True,
        ),
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": text["hidden_size"],
        "intermediate_size": 64,
        "num_heads": 4,
        "num_position_embeddings": 64,
    }
    model = Qwen3_5ForConditionalGeneration(
        Qwen3_5Config(text_config=text, vision_config=vision, **ids)
    )
    save(folder, model, tokenizer, TEMPLATE, _images(16), processor_class="Qwen3VLProcessor")

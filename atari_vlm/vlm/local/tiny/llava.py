"""Tiny LLaVA-NeXT (LLaVA-1.6), LLaVA-OneVision and Video-LLaVA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atari_vlm.vlm.local.tiny.parts import save, text_sizes, tiny_tokenizer

_SIZE, _PATCH = 56, 14
_PINPOINTS = [[_SIZE, 2 * _SIZE], [2 * _SIZE, _SIZE], [2 * _SIZE, 2 * _SIZE]]
_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] != 'assistant' %}[INST] {% endif %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% elif c['type'] == 'video' %}<video>\n{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% if m['role'] != 'assistant' %} [/INST]{% else %}</s>{% endif %}{% endfor %}"
)
_VISION = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
_SQUARE = {"size": {"shortest_edge": _SIZE}, "crop_size": {"height": _SIZE, "width": _SIZE}}


def _clip() -> Any:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(**_VISION, image_size=_SIZE, patch_size=_PATCH, projection_dim=64)


def build_llava_next(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny LLaVA-NeXT on a Mistral."""
    import transformers as t

    tokenizer = tiny_tokenizer(["<image>"])
    config = t.LlavaNextConfig(
        vision_config=_clip(),
        text_config=t.MistralConfig(
            **text_sizes(tokenizer, sizes, head_dim=16, sliding_window=None)
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=_PINPOINTS,
    )
    images = t.LlavaNextImageProcessorPil(image_grid_pinpoints=_PINPOINTS, **_SQUARE)
    settings = {
        "patch_size": _PATCH,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    }
    model = t.LlavaNextForConditionalGeneration(config)
    save(
        folder,
        model,
        tokenizer,
        _TEMPLATE,
        images,
        processor_class="LlavaNextProcessor",
        **settings,
    )


def build_llava_onevision(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny LLaVA-OneVision on a Qwen2."""
    import transformers as t

    tokenizer = tiny_tokenizer(["<image>", "<video>"])
    config = t.LlavaOnevisionConfig(
        vision_config=t.SiglipVisionConfig(
            **_VISION, image_size=_SIZE, patch_size=_PATCH, vision_use_head=False
        ),
        text_config=t.Qwen2Config(**text_sizes(tokenizer, sizes)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=_PINPOINTS,
    )
    images = t.LlavaOnevisionImageProcessorPil(
        image_grid_pinpoints=_PINPOINTS, size={"height": _SIZE, "width": _SIZE}
    )
    settings = {
        "num_image_tokens": (_SIZE // _PATCH) ** 2,
        "vision_feature_select_strategy": "full",
    }
    model = t.LlavaOnevisionForConditionalGeneration(config)
    save(
        folder,
        model,
        tokenizer,
        _TEMPLATE,
        images,
        processor_class="LlavaOnevisionProcessor",
        **settings,
    )


def build_video_llava(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Video-LLaVA on a Llama."""
    import transformers as t

    tokenizer = tiny_tokenizer(["<image>", "<video>"])
    per_frame = (_SIZE // _PATCH) ** 2 + 1
    config = t.VideoLlavaConfig(
        vision_config=_clip(),
        text_config=t.LlamaConfig(**text_sizes(tokenizer, sizes)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_seq_length=per_frame - 1,
        video_seq_length=8 * per_frame,
    )
    save(
        folder,
        t.VideoLlavaForConditionalGeneration(config),
        tokenizer,
        _TEMPLATE,
        t.CLIPImageProcessorPil(**_SQUARE),
    )

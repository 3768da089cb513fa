"""Tiny Idefics2, Idefics3 and SmolVLM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atari_vlm.vlm.local.tiny.parts import save, text_sizes, tiny_tokenizer

_MARKS = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
_ROWS = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
_TEMPLATE = (
    "{% for m in messages %}{{ m['role'].capitalize() }}:{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_VISION = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}


def _start(more: list[str]) -> tuple[Any, int]:
    tokenizer = tiny_tokenizer([*_MARKS, *more], eos="<end_of_utterance>")
    return tokenizer, tokenizer.convert_tokens_to_ids("<image>")


def build_idefics2(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Idefics2 on a Mistral; four tokens a picture."""
    import transformers as t

    tokenizer, image_id = _start([])
    text = t.MistralConfig(**text_sizes(tokenizer, sizes, head_dim=16))
    config = t.Idefics2Config(
        image_token_id=image_id,
        text_config=text,
        vision_config=_VISION,
        perceiver_config={
            "hidden_size": text.hidden_size,
            "rms_norm_eps": text.rms_norm_eps,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 16,
            "num_key_value_heads": 2,
        },
    )
    images = t.Idefics2ImageProcessorPil(
        size={"shortest_edge": 42, "longest_edge": 56}, do_image_splitting=False
    )
    model = t.Idefics2ForConditionalGeneration(config)
    save(
        folder,
        model,
        tokenizer,
        _TEMPLATE,
        images,
        processor_class="Idefics2Processor",
        image_seq_len=4,
    )


def build_idefics3(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Idefics3 on a Llama, with sub-images."""
    import transformers as t

    tokenizer, image_id = _start(_ROWS)
    text = t.LlamaConfig(**text_sizes(tokenizer, sizes))
    config = t.Idefics3Config(
        image_token_id=image_id, scale_factor=2, text_config=text, vision_config=_VISION
    )
    images = t.Idefics3ImageProcessorPil(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
    )
    model = t.Idefics3ForConditionalGeneration(config)
    save(
        folder,
        model,
        tokenizer,
        _TEMPLATE,
        images,
        processor_class="Idefics3Processor",
        image_seq_len=4,
    )


def build_smolvlm(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny SmolVLM2 on a Llama."""
    import transformers as t

    tokenizer, image_id = _start(_ROWS)
    text = t.LlamaConfig(**text_sizes(tokenizer, sizes))
    config = t.SmolVLMConfig(
        image_token_id=image_id, scale_factor=2, text_config=text, vision_config=_VISION
    )
    images = t.SmolVLMImageProcessorPil(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 56}
    )
    model = t.SmolVLMForConditionalGeneration(config)
    save(
        folder,
        model,
        tokenizer,
        _TEMPLATE,
        images,
        processor_class="SmolVLMProcessor",
        image_seq_len=4,
    )

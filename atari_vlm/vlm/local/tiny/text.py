"""Tiny chat models of texts: Llama (SmolLM2's architecture), Qwen3, and Gemma 3, some of whose layers see a window only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atari_vlm.vlm.local.tiny.parts import save, text_sizes, tiny_tokenizer

_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GEMMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<start_of_turn>{{ m['role'] }}\n{{ m['content'] + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def build_llama(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer(["<|im_start|>"], pad="<|endoftext|>", eos="<|im_end|>")
    model = LlamaForCausalLM(LlamaConfig(**text_sizes(tokenizer, sizes)))
    save(folder, model, tokenizer, _CHAT)


def build_qwen3(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Qwen3."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = tiny_tokenizer(["<|im_start|>"], pad="<|endoftext|>", eos="<|im_end|>")
    model = Qwen3ForCausalLM(Qwen3Config(**text_sizes(tokenizer, sizes, head_dim=16)))
    save(folder, model, tokenizer, _CHAT)


def build_gemma3(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Write a tiny Gemma 3: one layer sees 16 tokens, one sees all; its chat template knows no system role."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = tiny_tokenizer(["<start_of_turn>"], pad="<pad>", eos="<end_of_turn>", bos="<bos>")
    text = text_sizes(tokenizer, sizes, head_dim=16, sliding_window=16)
    layers = {"layer_types": ["sliding_attention", "full_attention"]}
    save(folder, Gemma3ForCausalLM(Gemma3TextConfig(**text, **layers)), tokenizer, _GEMMA_CHAT)

"""What the tiny checkpoints share: a byte-level tokenizer made in code, sizes of the language model, saving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm.vlm.local.loading import no_progress_bars

WORDS = "NOOP FIRE UP RIGHT LEFT DOWN ACTION Game Step Return reward You play an Atari game. Choose one action: "


def tiny_tokenizer(
    special: Sequence[str], *, pad: str = "<pad>", eos: str = "</s>", bos: str = "<s>"
) -> Any:
    """All 256 bytes and some merges of ``WORDS``: ``NOOP`` is one token, ``RIGHTFIRE`` is two."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(dict.fromkeys([pad, bos, eos, *special])),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS * 4, *(WORDS.split() * 4)], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, eos_token=eos, bos_token=bos
    )
    fast.add_special_tokens({"additional_special_tokens": list(special)})
    return fast


def text_sizes(tokenizer: Any, sizes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The language model's configuration: 64 wide, 2 layers, unless ``sizes`` say otherwise."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 16384,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **more,
        **sizes,
    }


def save(
    folder: Path,
    model: Any,
    tokenizer: Any,
    template: str,
    image_processor: Any = None,
    **processor: Any,
) -> None:
    """Write model, tokenizer, chat template, image processor and the processor's own settings as a real checkpoint has them."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with no_progress_bars():
        model.save_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    if image_processor is not None:
        image_processor.save_pretrained(folder)
    if processor:
        (folder / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")

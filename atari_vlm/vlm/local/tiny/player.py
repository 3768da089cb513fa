"""The small base of ``tune sft --base tiny --model new``: a Qwen3-VL of half a million parameters that can learn.

Hugging Face's stock initialisation (every weight with standard deviation 0.02) leaves a model of this width flat at the class
prior. Here linear and convolution weights have 1/sqrt(inputs), the last layer of each residual branch is small, and embeddings
have 1. The tokenizer is made from the package's own prompts: a line that stands in every prompt is one token, a digit is always
one by itself, so that a whole request takes dozens of tokens and not hundreds.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atari_vlm import games, prompts
from atari_vlm.description import Facts
from atari_vlm.vlm.local.tiny.parts import save
from atari_vlm.vlm.local.tiny.qwen import IMAGES, TEMPLATE, special_ids

FAMILY, NEW = "tiny", "new"
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 64,
    "out_hidden_size": 64,
    "intermediate_size": 192,
    "num_heads": 4,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}
PATCH, MOST_TOKENS = 16, 64  # of a picture
_VOCABULARY = 1536
_BRANCH_ENDS = ("o_proj", "down_proj", "attn.proj", "mlp.linear_fc2")


def build_player(folder: Path, seed: int) -> Path:
    """Write the base with the weights that ``seed`` gives; torch's random state is left as it was."""
    import torch
    from transformers import (
        Qwen2VLImageProcessorPil,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    ends = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")
    }
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    rope["mrope_interleaved"] = True
    head = SIZES["hidden_size"] // SIZES["num_attention_heads"]
    text = {
        "vocab_size": len(tokenizer),
        "head_dim": head,
        **SIZES,
        **ends,
        "rope_parameters": rope,
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config={**VISION, "patch_size": PATCH},
        tie_word_embeddings=False,
        **special_ids(tokenizer),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
        _initialise(model, torch.Generator().manual_seed(seed))
    unit = (2 * PATCH) ** 2
    processor = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        min_pixels=unit,
        max_pixels=unit * MOST_TOKENS,
        image_mean=[0.0] * 3,  # a black screen is nothing, and what is on it stands out
        image_std=[0.5] * 3,
    )
    save(folder, model, tokenizer, TEMPLATE, processor, processor_class="Qwen3VLProcessor")
    return folder


@contextmanager
def new_player(seed: int) -> Iterator[Path]:
    """A folder with the base that ``seed`` gives, for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="atari_vlm_tiny_") as folder:
        yield build_player(Path(folder), seed)


def _initialise(model: Any, generator: Any) -> None:
    """Draw the weights anew, in the order of the modules."""
    import torch
    from torch import nn

    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0, 1, generator=generator)
            elif isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
                inputs = module.weight[0].numel()
                share = 0.5 if name.endswith(_BRANCH_ENDS) else 1.0
                module.weight.normal_(0, share * inputs**-0.5, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()


@functools.cache
def _tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pad, end, begin = "<|endoftext|>", "<|im_end|>", "<|im_start|>"
    bytewise = Tokenizer(models.BPE(unk_token=None))
    bytewise.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n+"), "isolated"),
            pre_tokenizers.Split(Regex(r"[0-9]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bytewise.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[pad, end, begin, *IMAGES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bytewise.train_from_iterator(list(_texts()), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bytewise, pad_token=pad, eos_token=end, bos_token=None
    )
    fast.add_special_tokens({"additional_special_tokens": [begin, *IMAGES]})
    return fast


def _texts() -> Iterator[str]:
    """What the tokenizer is made from: every action's name most often, facts, and the instructions in all styles."""
    parts = (("", "UP", "DOWN"), ("", "RIGHT", "LEFT"), ("", "FIRE"))
    names = ["NOOP", *("".join(keys) for keys in itertools.product(*parts) if any(keys))]
    yield from names * 400
    yield from [f"{role}\n" for role in ("system", "user", "assistant")] * 400
    for name in names:
        yield from [Facts("Pong", 1, name, -1.0, -1.0).to_text()] * 60
    for style in prompts.PROMPT_STYLES:
        for game in games.game_names():
            yield from [prompts.instructions(style, game, names, answer="choice")] * 3
        for game in ("Catch", "SoloPong"):
            yield from [prompts.instructions(style, game, names, answer="choice")] * 40

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm import games, prompts
from atari_vlm.description import Facts
from atari_vlm.vlm.local.tiny.parts import save
from atari_vlm.vlm.local.tiny.qwen import IMAGES, TEMPLATE, special_ids

FAMILY, NEW = "tiny", "new"


@dataclass(frozen=True)
class PlayerShape:
    """How large a base is and what it is made for.

    ``width`` and ``layers`` of the language model, ``vision_width`` and ``vision_layers`` of the vision transformer; patches of
    ``patch`` pixels and ``temporal`` frames, at most ``most_tokens`` tokens of ``merge`` x ``merge`` patches for a picture: a
    larger one is shrunk. ``deepstack`` are vision layers that the language model reads too. ``smooth`` begins with waves
    instead of noise. ``fluent`` are the games whose prompts the tokenizer knows best.
    """

    width: int = 64
    layers: int = 2
    vision_width: int = 64
    vision_layers: int = 2
    patch: int = 16
    most_tokens: int = 64
    temporal: int = 2
    merge: int = 2
    deepstack: tuple[int, ...] = (0,)
    smooth: bool = False
    vocabulary: int = 1536
    fluent: tuple[str, ...] = ("Catch", "SoloPong")

    @property
    def text(self) -> dict[str, Any]:
        """Sizes of the language model."""
        return {
            "hidden_size": self.width,
            "intermediate_size": 3 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": self.width // 4,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
        }

    @property
    def vision(self) -> dict[str, Any]:
        """Sizes of the vision transformer."""
        return {
            "depth": self.vision_layers,
            "hidden_size": self.vision_width,
            "out_hidden_size": self.width,
            "intermediate_size": 3 * self.vision_width,
            "num_heads": 4,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": list(self.deepstack),
            "spatial_merge_size": self.merge,
            "patch_size": self.patch,
            "temporal_patch_size": self.temporal,
        }


SMALL = PlayerShape()
BUNDLED = PlayerShape(
    vision_width=96,
    vision_layers=1,
    patch=14,
    most_tokens=4,
    temporal=1,
    merge=3,
    deepstack=(),
    smooth=True,
    vocabulary=3072,
    fluent=("Pong", "Breakout", "Freeway", "Boxing", "Kaboom", "Assault"),
)
"""The model that ships: a picture is 84 x 84 pixels and four tokens."""
_GAIN = 0.6  # of a filter
_STRIPES, _PLAIN = 0.04, 0.003  # of those that see stripes, and plain patches
_BRANCH_ENDS = ("o_proj", "down_proj", "attn.proj", "mlp.linear_fc2")


def build_player(folder: Path, seed: int, shape: PlayerShape = SMALL) -> Path:
    """Write the base with the weights that ``seed`` gives; torch's random state is left as it was."""
    import torch
    from transformers import (
        Qwen2VLImageProcessorPil,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
    )

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(shape)
    ends = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")
    }
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": _sections(shape)}
    rope["mrope_interleaved"] = True
    text = {"vocab_size": len(tokenizer), **shape.text, **ends, "rope_parameters": rope}
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=shape.vision,
        tie_word_embeddings=False,
        **special_ids(tokenizer),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
        _initialise(model, torch.Generator().manual_seed(seed))
        if shape.smooth:
            _smooth(model.model.visual, shape)
    unit = (shape.merge * shape.patch) ** 2
    processor = Qwen2VLImageProcessorPil(
        patch_size=shape.patch,
        temporal_patch_size=shape.temporal,
        merge_size=shape.merge,
        min_pixels=unit,
        max_pixels=unit * shape.most_tokens,
        image_mean=[0.0] * 3,  # a black screen is nothing, and what is on it stands out
        image_std=[0.5] * 3,
    )
    save(folder, model, tokenizer, TEMPLATE, processor, processor_class="Qwen3VLProcessor")
    return folder


@contextmanager
def new_player(seed: int, shape: PlayerShape = SMALL) -> Iterator[Path]:
    """A folder with the base that ``seed`` gives, for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="atari_vlm_tiny_") as folder:
        yield build_player(Path(folder), seed, shape)


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


def _smooth(visual: Any, shape: PlayerShape) -> None:
    """Begin the vision transformer with waves: neighbouring places look alike to it.

    A patch is told by its lowest two-dimensional cosines in brightness and two differences of colours: a dot that moves by a
    pixel changes little. A plain background adds almost nothing, and a wall along a patch (a stripe, which only cosines of one
    direction see) little: beside a wall many times as strong a ball is lost in the next layer's norm. A patch's place is told
    by waves likewise.
    """
    import torch

    patch, width = shape.patch, shape.vision_width
    tones = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]]) / 3**0.5
    count = -(-width // 3)
    waves = _waves(patch, patch, count)
    filters = [waves[n // 3] * tones[n % 3][:, None, None] for n in range(width)]
    gains = torch.tensor([_gain(*_lowest(patch, patch, count)[n // 3]) for n in range(width)])
    side = int(visual.pos_embed.weight.shape[0] ** 0.5)
    with torch.no_grad():
        kernel = torch.stack(filters) * gains[:, None, None, None]  # (width, 3, P, P)
        visual.patch_embed.proj.weight.copy_(kernel[:, :, None] / shape.temporal)
        places = _waves(side, side, min(width, side * side)).flatten(1).T
        visual.pos_embed.weight.zero_()[:, : places.shape[1]] = places


def _waves(rows: int, columns: int, count: int) -> Any:
    """The ``count`` lowest products of cosines over a grid, float32 ``(count, rows, columns)``, largest value about 1."""
    import torch

    y, x = (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns
    found = [
        torch.cos(torch.pi * k * y)[:, None] * torch.cos(torch.pi * n * x)[None]
        for k, n in _lowest(rows, columns, count)
    ]
    return torch.stack(found)


def _lowest(rows: int, columns: int, count: int) -> list[tuple[int, int]]:
    """The ``count`` lowest pairs of half waves, down and across."""
    pairs = ((k, n) for k in range(rows) for n in range(columns))
    return sorted(pairs, key=lambda pair: (sum(pair), pair))[:count]


def _gain(down: int, across: int) -> float:
    if down and across:
        return _GAIN
    return _STRIPES if down or across else _PLAIN


def _sections(shape: PlayerShape) -> list[int]:
    """How the pairs of a head are divided over time, height and width."""
    pairs = shape.width // 8
    side = 3 * pairs // 8
    return [pairs - 2 * side, side, side]


@functools.cache
def _tokenizer(shape: PlayerShape) -> Any:
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
        vocab_size=shape.vocabulary,
        special_tokens=[pad, end, begin, *IMAGES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bytewise.train_from_iterator(list(_texts(shape.fluent)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bytewise, pad_token=pad, eos_token=end, bos_token=None
    )
    fast.add_special_tokens({"additional_special_tokens": [begin, *IMAGES]})
    return fast


def _texts(fluent: tuple[str, ...]) -> Iterator[str]:
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
        for game in fluent:
            yield from [prompts.instructions(style, game, names, answer="choice")] * 40

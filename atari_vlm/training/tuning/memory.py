"""How much memory a training takes, told before any weights are loaded: an estimate from the checkpoint's own numbers.

Counted are the weights, what is learned of them with its gradient and the two moments of Adam, and what a backward pass must keep
of every token: ``16 D + 4 F`` numbers of a layer of width ``D`` with a feed-forward network of width ``F`` (norms, queries, keys,
values, gates and the sums between them; compare Korthikanti et al. 2022, arXiv 2205.05198, equation 1), or with gradient
checkpointing ``D`` numbers a layer and one layer whole. How many tokens a prompt's text and its answers have is assumed; behind a
thought every answer stands with the whole thought before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import ModelNotAvailableError, RunError
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import GameSpec
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.checkpoint_folder import read_object
from atari_vlm.vlm.local.loading import placement
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.world_models.learned.team import processes_on

_TEXT_TOKENS = 120  # of instructions and facts
ANSWER_TOKENS = 16  # behind a prompt, all legal answers together
WORD_TOKENS = 150  # behind a prompt, a teacher's words at their longest
_HEADROOM = 1.2
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class TrainingLoad:
    """What is computed at once: ``rows`` decisions of ``pictures`` pictures of ``picture_px`` (height, width)."""

    method: str
    rows: int
    pictures: int
    picture_px: tuple[int, int]
    rank: int = 16
    gradient_checkpointing: bool = False
    flags: str = "--batch-size"  # what lowers the rows
    answer_tokens: int = ANSWER_TOKENS


def largest_picture(games: Sequence[GameSpec]) -> tuple[int, int]:
    """Height and width of the largest picture that these games begin with."""
    sizes = [np.asarray(env.reset(seed=0)[0]["image"]).shape[:2] for env in _each(games)]
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


def tokens_with_thoughts(games: Sequence[GameSpec], most: int) -> int:
    """Tokens behind a prompt: a thought of ``most`` tokens alone, and again before each legal answer."""
    answers = max(int(env.action_space.n) for env in _each(games))  # type: ignore[attr-defined]
    return ANSWER_TOKENS + most * (1 + answers)


def _each(games: Sequence[GameSpec]) -> Iterator[Env]:
    for game in games:
        env = make_env({"game_name": game.name, "env": dict(game.options)})
        try:
            yield env
        finally:
            env.close()


def check_training_memory(
    model: str, folder: Path, options: LocalOptions, load: TrainingLoad
) -> None:
    """Raise ``ModelNotAvailableError`` where the estimate is more than the device has free; unknown is not checked.

    Processes of a run that share a CPU share its memory.
    """
    device, dtype = placement(folder, options)
    free = weights.free_bytes(device)
    fixed, passing = training_bytes(folder, dtype, load)
    if free is None:
        return
    sharing = processes_on(device)
    free //= sharing
    if fixed + passing <= free:
        return
    less = [f"lower {load.flags} or --frames"]
    if not load.gradient_checkpointing:
        less.append("take --gradient-checkpointing")
    if load.method != "qlora" and fixed > free / 2:
        less.append(f"take --method {'lora or qlora' if load.method == 'full' else 'qlora'}")
    each = f" for each of {sharing} processes" if sharing > 1 else ""
    raise ModelNotAvailableError(
        f"training {model} needs about {(fixed + passing) / 1e9:.1f} GB of {device} memory, and {free / 1e9:.1f} GB are free"
        f"{each}: {fixed / 1e9:.1f} GB for weights and optimizer, {passing / 1e9:.1f} GB for {load.rows} decisions of "
        f"{load.pictures} pictures at once; {', or '.join(less)}"
    )


def training_bytes(folder: Path, dtype: str, load: TrainingLoad) -> tuple[int, int]:
    """Bytes that stay (weights, optimizer) and bytes of a pass with its gradient."""
    config = read_object(folder / "config.json")
    size = _BYTES[dtype]
    parameters = weights.parameters(folder)
    text: Mapping[str, Any] = {**config, **config.get("text_config", {})}
    if load.method == "full":
        stays, learned = 2 * parameters * size, parameters  # peft keeps the first weights beside
    else:
        stays = int(parameters * (0.7 if load.method == "qlora" else size))
        learned = load.rank * _ranked_widths(text)
    stays += learned * (5 if load.method != "full" else 4) * size
    return int(stays * _HEADROOM), int(_passing(config, text, load) * size * _HEADROOM)


def _passing(config: Mapping[str, Any], text: Mapping[str, Any], load: TrainingLoad) -> int:
    """Numbers that a pass keeps for its gradient."""
    vision: Mapping[str, Any] = config.get("vision_config", {})
    patches, tokens = _picture_tokens(config, vision, load.picture_px)
    length = _TEXT_TOKENS + load.pictures * tokens + load.answer_tokens
    read = length * _kept(text, "num_hidden_layers", load.gradient_checkpointing)
    seen = load.pictures * patches * _kept(vision, "depth", load.gradient_checkpointing)
    said = load.answer_tokens * int(text.get("vocab_size", 0)) * 4
    return load.rows * (read + seen + said)


def _kept(part: Mapping[str, Any], depth: str, checkpointing: bool) -> int:
    """Numbers that a token leaves behind in all layers."""
    layers = int(part.get(depth, part.get("num_hidden_layers", 0)) or 0)
    width = int(part.get("embed_dim", part.get("hidden_size", 0)) or 0)
    inner = int(part.get("intermediate_size", 4 * width) or 4 * width)
    each = 16 * width + 4 * inner
    return layers * width + each if checkpointing else layers * each


def _picture_tokens(
    config: Mapping[str, Any], vision: Mapping[str, Any], picture_px: tuple[int, int]
) -> tuple[int, int]:
    """Patches that the vision tower reads of a picture, and tokens that the language model reads of it."""
    patch = int(vision.get("patch_size", 14))
    if "image_size" in vision:  # always scaled to one size
        patches = (int(vision["image_size"]) // patch) ** 2
        latents = config.get("perceiver_config", {}).get("resampler_n_latents")
        return patches, int(latents or patches)
    merged = int(vision.get("spatial_merge_size", 2))
    unit = patch * merged
    tokens = max(1, round(picture_px[0] / unit)) * max(1, round(picture_px[1] / unit))
    return tokens * merged**2, tokens


def _ranked_widths(text: Mapping[str, Any]) -> int:
    """Inputs and outputs of all linear layers of the language model, which a low-rank layer has one column each for."""
    width, inner = int(text.get("hidden_size", 0)), int(text.get("intermediate_size", 0))
    heads = int(text.get("num_attention_heads", 1))
    head = int(text.get("head_dim") or width // heads)
    keys = int(text.get("num_key_value_heads") or heads) * head
    queries = heads * head
    each = 2 * (width + queries) + 2 * (width + keys) + 3 * (width + inner)
    return int(text.get("num_hidden_layers", 0)) * each


@contextmanager
def within_memory(batch: Sequence[TaughtDecision]) -> Iterator[None]:
    """Running out of memory in the block, which computes a batch, is a ``RunError`` that says what to lower."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(batch) from error
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise _too_large(batch) from error


def _too_large(batch: Sequence[TaughtDecision]) -> RunError:
    pictures = max(sum(len(m.images) for m in d.messages) for d in batch)
    return RunError(
        f"out of memory with {len(batch)} decisions of {pictures} pictures at once: lower --micro-batch or --frames, or take "
        "--gradient-checkpointing or --method qlora"
    )

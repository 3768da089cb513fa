"""Adapters: what tuning changed of a model's weights, in peft's two files and a card that says what they belong to.

======================================  ===============================================================================
``adapter_config.json``                 peft's: which layers, of what rank
``adapter_model.safetensors``           peft's: the weights
``atari_vlm.json``                      the :class:`AdapterCard`: base and hash of its weights, prompts, answer form, games
======================================  ===============================================================================

An adapter comes from anywhere, so nothing of it is trusted: of peft's configuration only numbers and names of layers are
taken (peft itself would import a module that it names), and weights that are not those of the layers are refused. Whatever
is wrong is one sentence with the word adapter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm import prompts
from atari_vlm._lazy import require
from atari_vlm.errors import AtariVLMError, ConfigError, MismatchError, ModelNotAvailableError
from atari_vlm.files import atomic_write, read_real, sha256_of
from atari_vlm.hub import reason_of
from atari_vlm.settings import from_plain, plain
from atari_vlm.vlm.local import weights as base_weights

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "atari_vlm.json"
SCORED = "choice"  # a bare action name, scored
THOUGHTS = (
    "thoughts"  # a thought is written, then the complete answers that begin with it are scored
)
LONGEST_THOUGHT = 4096  # tokens
EVERY_LAYER = "dummy-target-modules"  # peft's word for no low-rank layers beside whole modules
_MOST_TEXT = 8 << 20
_TAKEN = ("r", "lora_alpha", "target_modules", "modules_to_save", "use_rslora")


@dataclass(frozen=True)
class AdapterCard:
    """What an adapter belongs to and how it came about.

    ``base`` is the family, ``model`` what was loaded, ``weights`` the hash of its weights (``weights.digest``).
    ``prompt_version`` is that of :func:`prompt_version_of`. ``frames`` is the number of pictures in a question.
    ``answer_form`` is ``choice``, or ``thoughts`` of at most ``thought_tokens``.
    """

    base: str
    model: str
    model_type: str
    weights: str
    prompt_type: str
    prompt_version: str
    games: tuple[str, ...]
    seed: int
    answer_form: str = SCORED
    thought_tokens: int = 0
    frames: int = 2
    method: str = "lora"
    source: str = ""
    updates: int = 0
    held_out_accuracy: float | None = None


@dataclass(frozen=True)
class Adapter:
    """A folder that was read and found whole; ``config`` holds the taken entries of peft's configuration."""

    folder: Path
    card: AdapterCard
    config: Mapping[str, Any]
    digest: str


def prompt_version_of(style: str) -> str:
    """Number and hash of a prompt style's wording."""
    return f"{prompts.prompt_version(style)}-{prompts.prompt_hash(style)}"


def read_adapter(folder: str | Path) -> Adapter:
    """The adapter in ``folder``, its weights not loaded yet.

    Raises ``ModelNotAvailableError`` for an absent or damaged one, ``MismatchError`` for one of another answer form or prompt
    version.
    """
    path = Path(folder).expanduser()
    missing = [name for name in (CONFIG, WEIGHTS, CARD) if not (path / name).is_file()]
    if missing:
        raise ModelNotAvailableError(
            f"{folder} is no adapter of atari_vlm.tune: it lacks {missing[0]}"
        )
    card, config = _card(path / CARD), _config(path / CONFIG)
    if card.answer_form not in (SCORED, THOUGHTS):
        raise MismatchError(
            f"the adapter {folder} is of the answer form {card.answer_form!r:.40}; the forms that are scored are {SCORED!r} and "
            f"{THOUGHTS!r}"
        )
    most = LONGEST_THOUGHT if card.answer_form == THOUGHTS else 0
    if not min(1, most) <= card.thought_tokens <= most:
        raise MismatchError(
            f"the adapter {folder} of the answer form {card.answer_form} says thoughts of {card.thought_tokens} tokens"
        )
    if card.prompt_version != (here := prompt_version_of(card.prompt_type)):
        raise MismatchError(
            f"the adapter {folder} was trained with version {card.prompt_version:.40} of the prompt {card.prompt_type}; "
            f"here it is {here}"
        )
    try:
        headers = base_weights.read_headers(path / WEIGHTS)
    except base_weights.UNREADABLE as error:
        raise ModelNotAvailableError(
            f"the weights of the adapter {folder} are damaged ({reason_of(error)})"
        ) from error
    ranks = {entry["shape"][0] for name, entry in headers.items() if ".lora_A." in name}
    if ranks - {config["r"]}:  # before layers of that rank take memory
        raise ModelNotAvailableError(
            f"the adapter {folder} says rank {config['r']}, and its weights have others"
        )
    return Adapter(path, card, config, sha256_of(path / WEIGHTS))


def check_base(adapter: Adapter, family: str, model: str, folder: Path, model_type: str) -> None:
    """Raise ``MismatchError`` unless the adapter was made for the weights in ``folder``."""
    card = adapter.card
    if card.base != family:
        raise MismatchError(
            f"the adapter {adapter.folder} was made for the family {card.base:.40}, not for {family}"
        )
    if card.model_type != model_type:
        raise MismatchError(
            f"the adapter {adapter.folder} was made for a {card.model_type:.40} model; {model} is a {model_type}"
        )
    if base_weights.digest(folder) != card.weights:
        raise MismatchError(
            f"the adapter {adapter.folder} was made for other weights than those of {model} (for {card.model!r:.200}): "
            "their hashes differ"
        )


def attach(adapter: Adapter, model: Any, *, merge: bool) -> Any:
    """``model`` with the adapter's layers in it; with ``merge`` they become part of its weights, and its layers plain again."""
    try:
        tuned = with_layers(model, adapter.config)
    except AtariVLMError:
        raise
    except Exception as error:  # peft has its own ways to say what does not fit
        raise MismatchError(
            f"the adapter {adapter.folder} does not fit the model ({reason_of(error)})"
        ) from error
    load_weights(adapter, tuned)
    plain_model = tuned.merge_and_unload() if merge else tuned.get_base_model()
    return plain_model.eval().requires_grad_(False)


def load_weights(adapter: Adapter, tuned: Any) -> None:
    """Put an adapter's weights into peft's model with its layers; ``MismatchError`` where they do not fit."""
    peft = require_peft()
    load_file = require("safetensors.torch", "tune").load_file
    try:
        state = load_file(adapter.folder / WEIGHTS)
        _check_shapes(adapter, peft.get_peft_model_state_dict(tuned), state)
        peft.set_peft_model_state_dict(tuned, state)
    except AtariVLMError:
        raise
    except Exception as error:  # peft and torch have their own ways to say what does not fit
        raise MismatchError(
            f"the adapter {adapter.folder} does not fit the model ({reason_of(error)})"
        ) from error


def with_layers(model: Any, config: Mapping[str, Any]) -> Any:
    """Peft's model around ``model``, with new layers as ``config`` says; torch's random state is left as it was."""
    torch, peft = require("torch", "tune"), require_peft()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft and transformers among themselves
        torch.manual_seed(0)
        return peft.get_peft_model(model, peft.LoraConfig(**config))


def require_peft() -> Any:
    """The library; bitsandbytes, which it imports, says on a CPU that a kernel is not there, and computes all the same."""
    log = logging.getLogger("bitsandbytes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return require("peft", "tune")
    finally:
        log.setLevel(level)


def save_adapter(folder: Path, tuned: Any, config: Mapping[str, Any], card: AdapterCard) -> None:
    """Write the three files, each whole or not at all; equal weights give equal bytes."""
    peft = require_peft()
    save = require("safetensors.torch", "tune").save
    state = peft.get_peft_model_state_dict(tuned)
    tensors = {name: state[name].detach().cpu().contiguous().clone() for name in sorted(state)}
    full = {"peft_type": "LORA", "task_type": None, "base_model_name_or_path": card.model, **config}
    full |= {"bias": "none", "inference_mode": True, "lora_dropout": 0.0}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    atomic_write(folder / CONFIG, json.dumps(full, indent=2, sort_keys=True) + "\n")
    atomic_write(folder / CARD, json.dumps(plain(card), indent=2) + "\n")


def _check_shapes(adapter: Adapter, here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    ours = {name: tuple(tensor.shape) for name, tensor in here.items()}
    theirs = {name: tuple(tensor.shape) for name, tensor in there.items()}
    if any(not bool(tensor.isfinite().all()) for tensor in there.values()):
        raise MismatchError(f"the adapter {adapter.folder} has weights that are no numbers")
    wrong = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if wrong:
        raise MismatchError(
            f"the adapter {adapter.folder} does not fit the model: {len(wrong)} of its weights, {wrong[0]:.120} for one, are "
            f"{theirs.get(wrong[0], 'absent')} there and {ours.get(wrong[0], 'absent')} here"
        )


def _card(file: Path) -> AdapterCard:
    try:
        card = from_plain(AdapterCard, _object(file), "atari_vlm.json")
        prompts.check_style(card.prompt_type)
    except (ConfigError, OSError, ValueError, RecursionError) as error:
        raise ModelNotAvailableError(f"the adapter's {file} cannot be read: {error}") from error
    return card


def _config(file: Path) -> dict[str, Any]:
    """The entries that are taken; another method than LoRA is refused."""
    try:
        content = _object(file)
    except (ConfigError, OSError, ValueError, RecursionError) as error:
        raise ModelNotAvailableError(f"the adapter's {file} cannot be read: {error}") from error
    taken = {name: content[name] for name in _TAKEN if content.get(name) is not None}
    numbers = [taken.get(name, 0) for name in ("r", "lora_alpha")]
    names = [
        name for key in ("target_modules", "modules_to_save") for name in _names(taken.get(key))
    ]
    if (
        content.get("peft_type") != "LORA"
        or not all(type(n) in (int, float) and 0 < n < 1e5 for n in numbers)
        or not all(isinstance(name, str) for name in names)
        or not isinstance(taken.get("use_rslora", False), bool)
    ):
        raise ModelNotAvailableError(
            f"the adapter's {file} describes no LoRA adapter that is read here"
        )
    return taken


def _names(value: Any) -> list[Any]:
    if value is None or value == EVERY_LAYER:
        return []
    return list(value) if isinstance(value, list) else [None]  # a pattern is not taken


def _object(file: Path) -> dict[str, Any]:
    value = json.loads(read_real(file, _MOST_TEXT).decode("utf-8"))
    if not isinstance(value, dict):
        raise ConfigError("it holds no JSON object")
    return value


def described(card: AdapterCard, **changes: Any) -> AdapterCard:
    """The card with some entries replaced."""
    return dataclasses.replace(card, **changes)


def key_of(adapter: Adapter) -> str:
    """What tells a model with this adapter from any other, for names and caches."""
    return hashlib.sha256(f"{adapter.card.weights} {adapter.digest}".encode()).hexdigest()[:12]

"""From a folder to an engine: the same path for a tiny random checkpoint and for real weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError, NotSupportedError
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.checkpoint_folder import loading, read_object, unavailable
from atari_vlm.vlm.local.encoder import Encoder, grid_positions, plain_positions
from atari_vlm.vlm.local.engine import Engine
from atari_vlm.vlm.local.layouts import Layout, layout_for
from atari_vlm.vlm.local.options import LocalOptions

# SmolVLM's processor differs from Idefics3's in its video half only, which needs two more packages.
_PROCESSOR_OF = {"smolvlm": "Idefics3Processor"}


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked: what runs it, and what turns messages into its prompts and tokens into text."""

    engine: Any
    encoder: Any
    model_type: str
    dtype: str


def load_folder(name: str, folder: Path, options: LocalOptions) -> Loaded:
    """Load the checkpoint in ``folder``; ``name`` is what the user called it.

    Raises ``ModelNotAvailableError`` when weights or memory are missing or loading fails otherwise, ``ConfigError`` when it
    is no image-text model.
    """
    with loading(name, folder):
        return _load(name, folder, options)


def _load(name: str, folder: Path, options: LocalOptions) -> Loaded:
    transformers = require("transformers", "local")
    device, dtype = fitting_placement(name, folder, options)
    config = read_config(name, folder, options)
    model = load_model(transformers.AutoModelForImageTextToText, folder, (device, dtype), options)
    processor, template = _load_processor(transformers, config, folder, options)
    layout = layout_for(config.model_type)(processor, config, fast=options.fast_images)
    tokenizer = processor.tokenizer
    inner = getattr(model, "model", model)
    positions = grid_positions(inner) if hasattr(inner, "get_rope_index") else plain_positions
    engine = make_engine(model, layout, tokenizer, options)
    return Loaded(engine, Encoder(tokenizer, layout, template, positions), config.model_type, dtype)


def make_engine(model: Any, layout: Layout, tokenizer: Any, options: LocalOptions) -> Engine:
    """The engine of a loaded model."""
    return Engine(
        model,
        layout,
        stop_ids=stop_ids(model, tokenizer),
        pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0,
        prefix_cache=options.prefix_cache,
    )


def fitting_placement(name: str, folder: Path, options: LocalOptions) -> tuple[str, str]:
    """Device and dtype, with ``auto`` resolved; raises unless the weights fit there."""
    device, dtype = placement(folder, options)
    weights.check_memory(
        name,
        weights.needed_bytes(folder, dtype, options.load_in),
        device,
        weights.free_bytes(device),
    )
    return device, dtype


def placement(folder: Path, options: LocalOptions) -> tuple[str, str]:
    """Device and dtype, with ``auto`` resolved."""
    torch = require("torch", "local")
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(torch, device)
    if options.dtype != "auto":
        return device, options.dtype
    if device != "cpu":
        return device, "bfloat16"
    free = weights.free_bytes(device)
    fits = free is None or weights.needed_bytes(folder, "float32", None) <= free
    return device, "float32" if fits or options.load_in is not None else "bfloat16"


def check_device(torch: Any, device: str) -> None:
    """Raise ``ConfigError`` for what is no device of torch, ``ModelNotAvailableError`` for one that is not here."""
    here = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise unavailable(
            f"device {device!r} was asked for and torch sees no CUDA GPU; there is {', '.join(here)}"
        )
    try:
        float(torch.zeros(1, device=device).sum())
    except Exception as error:  # every backend has its own way to be absent
        raise ConfigError(f"there is no device {device!r} here: auto, {', '.join(here)}") from error


def read_config(
    name: str,
    folder: Path,
    options: LocalOptions,
    kind: str = "IMAGE_TEXT_TO_TEXT",
    refusal: str = "reads no images; --model takes an image-text-to-text model, and --vlm text a model of texts",
) -> Any:
    """The checkpoint's configuration; refuse what is no model of transformers' table ``kind``."""
    transformers = require("transformers", "local")
    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=options.trust_remote_code
    )
    if type(config) not in getattr(transformers, f"MODEL_FOR_{kind}_MAPPING"):
        raise ConfigError(f"{name} is a {config.model_type!r} model, which {refusal}")
    return config


def load_model(
    auto_class: Any,
    folder: Path,
    place: tuple[str, str],
    options: LocalOptions,
    attention: str | None = "sdpa",
) -> Any:
    """Weights from safetensors only, quantised if asked, in evaluation mode; ``attention`` ``None`` is the architecture's."""
    torch = require("torch", "local")
    device, dtype = place
    settings: dict[str, Any] = {
        "dtype": getattr(torch, dtype),
        "device_map": {"": device},
        "attn_implementation": attention,
    }
    if options.load_in is not None:
        settings["quantization_config"] = _quantisation(options.load_in, getattr(torch, dtype))
    try:
        with no_progress_bars():
            model, loaded = auto_class.from_pretrained(
                folder,
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=options.trust_remote_code,
                **settings,
            )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise unavailable(f"{folder} does not fit the memory of {device} ({error})") from error
    if lacking := sorted(loaded["missing_keys"]):  # they would be random numbers
        raise unavailable(
            f"{folder} lacks {len(lacking)} of the model's weights, {lacking[0]} for one: fetch it again"
        )
    return model.eval()


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers' own progress bars out of the program's display."""
    logging = require("transformers.utils.logging", "local")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _quantisation(load_in: str, compute: Any) -> Any:
    require("bitsandbytes", "local")
    transformers = require("transformers", "local")
    if load_in == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_use_double_quant=True,
    )


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the generation settings' and the tokenizer's."""
    return ends_of(getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id)


def ends_of(stated: Any, own: int | None) -> list[int]:
    """What generation settings state (a token, several, none) and a tokenizer's own end, in order."""
    ids: Iterable[int] = (
        stated if isinstance(stated, (list, tuple)) else [] if stated is None else [stated]
    )
    stops = {int(token) for token in ids}
    if own is not None:
        stops.add(int(own))
    if not stops:
        raise ConfigError("the checkpoint names no token that ends an answer")
    return sorted(stops)


def _load_processor(
    transformers: Any, config: Any, folder: Path, options: LocalOptions
) -> tuple[Any, str | None]:
    """The family's processor without its video half (which needs torchvision), and the chat template."""
    tokenizer = load_tokenizer(folder, options)
    if config.model_type == "video_llava":
        settings, _ = transformers.ProcessorMixin.get_processor_dict(folder, local_files_only=True)
        return _clip_processor(tokenizer, config, folder), chat_template(
            settings.get("chat_template"), tokenizer
        )
    image_processor = transformers.AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=options.trust_remote_code, backend="pil"
    )
    family = _processor_class(transformers, config)
    image_only: Any = type(
        family.__name__, (_ImageOnly, family), {"modalities": family.get_attributes()}
    )
    parts = [
        {"image_processor": image_processor, "tokenizer": tokenizer}.get(name)
        for name in family.get_attributes()
    ]
    settings, _ = image_only.get_processor_dict(folder, local_files_only=True)
    processor = image_only.from_args_and_dict(parts, settings)
    return processor, chat_template(getattr(processor, "chat_template", None), tokenizer)


def load_tokenizer(folder: Path, options: LocalOptions) -> Any:
    """The checkpoint's tokenizer, padding on the left; ``ModelNotAvailableError`` without its files."""
    transformers = require("transformers", "local")
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=options.trust_remote_code,
        padding_side="left",
    )
    files = sorted({"tokenizer.json", *tokenizer.vocab_files_names.values()})
    if not any((folder / file).exists() for file in files):  # transformers makes an empty one then
        raise unavailable(f"{folder} lacks its tokenizer: {' or '.join(files)}")
    return tokenizer


def chat_template(given: Any, tokenizer: Any) -> str | None:
    """The processor's chat template, else the tokenizer's; of several named ones the one called ``default``, or the only one."""
    template = given or tokenizer.chat_template
    if not isinstance(template, dict):
        return template or None
    if "default" not in template and len(template) > 1:
        raise ConfigError(
            f"the checkpoint has the chat templates {', '.join(sorted(template))} and none called default"
        )
    return str(template.get("default") or next(iter(template.values())))


class _ImageOnly:
    """Mixed into a processor class: it consists of image processor and tokenizer."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that are there."""
        return ["image_processor", "tokenizer"]


def _processor_class(transformers: Any, config: Any) -> Any:
    if config.model_type in _PROCESSOR_OF:
        return getattr(transformers, _PROCESSOR_OF[config.model_type])
    family = transformers.PROCESSOR_MAPPING.get(type(config), None)
    if family is None or family.get_attributes()[:2] != ["image_processor", "tokenizer"]:
        raise NotSupportedError(
            f"models of type {config.model_type!r} cannot be prompted in process; use --base-url URL"
        )
    return family


def _clip_processor(tokenizer: Any, config: Any, folder: Path) -> SimpleNamespace:
    """Video-LLaVA: what its frames need, from ``preprocessor_config.json`` where there is one."""
    file = folder / "preprocessor_config.json"
    settings = read_object(file) if file.exists() else {}
    token_id = config.video_token_id
    return SimpleNamespace(
        tokenizer=tokenizer,
        video_token=tokenizer.convert_ids_to_tokens(token_id),
        video_token_id=token_id,
        edge=config.vision_config.image_size,
        mean=np.array(settings.get("image_mean", (0.48145466, 0.4578275, 0.40821073)), np.float32),
        std=np.array(settings.get("image_std", (0.26862954, 0.26130258, 0.27577711)), np.float32),
    )

"""The small model that ships with the package: where it lies, what it was made for, and what runs it."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from atari_vlm._lazy import load
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.hub import read_object
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.catalogue import BUNDLED, TINY
from atari_vlm.vlm.local.options import LocalOptions

BACKENDS = ("torch", "onnx")
MADE, WEIGHTS = "made.json", "model.safetensors"
WRITES_NOTHING = f"the bundled model of --vlm {TINY} was trained to be scored and writes no replies: it plays with answer=scores"
_NEW = "new"
_OF_TORCH = ("torch", "transformers", "accelerate")
_FOR_ONNX = {"device": ("auto", "cpu"), "dtype": ("auto", "float32")}
_ANY_VALUE = ("max_batch", "batch_wait_ms", "offline")


@dataclass(frozen=True)
class Taught:
    """What the bundled model was trained on: prompt style, pictures in a question, games."""

    prompt_type: str
    frames: int
    games: tuple[str, ...]


def folder() -> Path:
    """Where the bundled model lies; ``ConfigError`` where this package brings none."""
    if not is_here():
        raise ConfigError(
            f"--vlm {TINY}: no model is bundled with this package; give --model FOLDER, or --adapter FOLDER of one that "
            f"`tune sft --base {TINY} --model {_NEW}` trained"
        )
    return _place()


def taught() -> Taught:
    """What the bundled model was trained on."""
    made = read_object(folder() / MADE)
    return Taught(str(made["prompt_type"]), int(made["frames"]), tuple(made["lanes"]))


def ways(vlm: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """``prompt_type`` and ``frames`` that the bundled model was trained with, where ``--vlm`` means it; else nothing.

    ``given`` are options of ``load_vlm`` and others; those that are ``None`` count as left out.
    """
    if vlm != TINY or model_name(given) != BUNDLED or given.get("base_url") or not is_here():
        return {}
    return {"prompt_type": taught().prompt_type, "frames": taught().frames}


def model_name(given: Mapping[str, Any]) -> str:
    """The model that ``--vlm tiny`` means with these options."""
    unnamed = _NEW if given.get("adapter") else BUNDLED
    return str(given.get("model") or unnamed)


def is_here() -> bool:
    """Whether this package brings a model."""
    return (_place() / WEIGHTS).is_file()


def _place() -> Path:
    return Path(str(resources.files("atari_vlm"))) / "data" / "tiny"


def load_tiny(model: str | None, options: Mapping[str, Any], read: Any) -> VLM:
    """The bundled model, or one of your own; ``options`` are those of ``load_vlm``, ``read`` makes ``LocalOptions`` of them.

    ``backend`` is ``torch`` (the default where it is installed) or ``onnx``: the bundled model without torch and
    transformers. A model of somebody else's is never given to ONNX Runtime.
    """
    given = dict(options)
    backend = given.pop("backend", None)
    if backend not in (None, *BACKENDS):
        raise UnknownNameError("backend", str(backend), BACKENDS)
    local: LocalOptions = read(given)
    name = model_name({"model": model, "adapter": local.adapter})
    if name != BUNDLED and backend == "onnx":
        raise ConfigError(
            f"backend onnx is for the bundled model alone, without --model and --adapter: a model of your own ({name}) "
            "is run by torch"
        )
    if name == BUNDLED and local.adapter is None:
        folder()  # before libraries are asked for
        if (backend or _installed()) == "onnx":
            _check_fits_onnx(local)
            onnx: VLM = load("atari_vlm.vlm.local.onnx.onnx_vlm:OnnxVLM")(folder(), options=local)
            return onnx
    vlm: VLM = load("atari_vlm.vlm.local.transformers_vlm:TransformersVLM")(
        TINY, name, options=local
    )
    return vlm


def _installed() -> str:
    """The backend that is taken unasked."""
    return "torch" if all(map(_is_there, _OF_TORCH)) else "onnx"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # somebody keeps it from being imported
        return False


def _check_fits_onnx(options: LocalOptions) -> None:
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        allowed = _FOR_ONNX.get(item.name, (item.default,))
        if item.name not in _ANY_VALUE and value not in allowed:
            raise ConfigError(
                f"--vlm {TINY} runs on ONNX Runtime here, which takes no {item.name}={value}; torch does (extra 'local')"
            )

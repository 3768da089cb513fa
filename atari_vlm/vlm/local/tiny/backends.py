"""``--vlm tiny``: the bundled model by torch or by ONNX Runtime, or a small model of your own by torch."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any

from atari_vlm._lazy import load
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.catalogue import BUNDLED, TINY
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.bundled import folder, model_name

BACKENDS = ("torch", "onnx")
_OF_TORCH = ("torch", "transformers", "accelerate")
_FOR_ONNX = {"device": ("auto", "cpu"), "dtype": ("auto", "float32")}
_ANY_VALUE = ("max_batch", "batch_wait_ms", "offline")


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
    is_ours = name == BUNDLED and local.adapter is None
    if backend == "onnx" and not is_ours:
        raise ConfigError(
            f"backend onnx is for the bundled model alone, without --model and --adapter: a model of your own ({name}) "
            "is run by torch"
        )
    if is_ours:
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

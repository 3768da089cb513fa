"""``load_vlm``: from a name on the command line to a VLM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from atari_vlm._lazy import load
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.own_classes import is_own, made, own_class, takes
from atari_vlm.settings import from_plain
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.catalogue import OFFLINE_NAMES, TINY, Entry, entry

_PARTS = ("name", "capabilities", "complete", "score_choices")
_REMOTE = {
    "openai": "atari_vlm.vlm.remote.openai:OpenAIVLM",
    "anthropic": "atari_vlm.vlm.remote.anthropic:AnthropicVLM",
    "google": "atari_vlm.vlm.remote.google:GoogleVLM",
}


def load_vlm(
    name: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    timeout_s: float = 60.0,
    adapter: str | Path | None = None,
    **options: Any,
) -> VLM:
    """Build the VLM that ``name`` means; nothing is downloaded or contacted before the first request of a remote one.

    ``model`` is any id or folder of the family, default the catalogue's. ``base_url`` points at an OpenAI-compatible server
    (vLLM, Ollama, llama.cpp, LM Studio, OpenRouter): with it a local family is served there instead of in process; for
    ``claude`` and ``gemini`` it replaces the vendor's own address. ``options`` are fields of ``RemoteOptions`` or
    ``LocalOptions``. For ``replay`` ``model`` is the recording's path. ``module:Class`` is a VLM of your own, made with those
    of the keywords that its constructor takes.

    ``adapter`` is the folder of an adapter that :mod:`atari_vlm.tune` trained for a model that is loaded in process. ``tiny``
    without ``model`` is the small model that ships; it takes ``backend``: ``torch`` (default where installed) or ``onnx``.

    Raises ``UnknownNameError`` for an unknown name and ``ConfigError`` for an unknown option.
    """
    if adapter is not None:
        options = {**options, "adapter": str(adapter)}
    if is_own(name):
        known = {"model": model, "api_key": api_key, "base_url": base_url}
        return _own(name, {"timeout_s": timeout_s}, {**known, **options})
    if name in OFFLINE_NAMES:
        given = {
            "base_url": base_url,
            "api_key": api_key,
            **({} if name == "replay" else {"model": model}),
            **options,
        }
        return _offline(
            name, model, [option for option, value in given.items() if value is not None]
        )
    row = entry(name)
    if name == TINY and base_url is None:
        return _tiny(model, options)
    model_id = model or row.model
    if row.kind == "local" and base_url is None:
        return _local(row, model_id, options)
    if adapter is not None:
        raise ConfigError(
            f"--vlm {name} takes no adapter here: an adapter needs a model that is loaded in this process"
        )
    backend = row.backend if row.kind == "api" else "openai"
    remote_options = _options(name, "atari_vlm.vlm.remote.options:RemoteOptions", options)
    vlm: VLM = load(_REMOTE[backend])(
        model_id, api_key=api_key, base_url=base_url, timeout_s=timeout_s, options=remote_options
    )
    return vlm


def _offline(name: str, model: str | None, ignored: Sequence[str]) -> VLM:
    if ignored:
        raise ConfigError(
            f"--vlm {name} takes no option {ignored[0]!r} (--{ignored[0].replace('_', '-')}): it asks no model"
        )
    if name == "replay":
        if model is None:
            raise ConfigError("--vlm replay needs --model PATH, the recording to replay")
        vlm: VLM = load("atari_vlm.vlm.layers.cassette:ReplayVLM")(model)
        return vlm
    entry_point = {
        "scripted": "atari_vlm.vlm.scripted:ScriptedVLM",
        "nearest-example": "atari_vlm.vlm.nearest_example:NearestExampleVLM",
    }[name]
    offline: VLM = load(entry_point)()
    return offline


def _own(name: str, offered: dict[str, Any], given: dict[str, Any]) -> VLM:
    """A VLM of the user's own: what is given must fit, what is only offered is left out where it does not."""
    kind = own_class(name, "VLM")
    options = {option: value for option, value in given.items() if value is not None}
    wanted = takes(kind) or ()
    options |= {option: value for option, value in offered.items() if option in wanted}
    vlm = made(name, kind, options)
    if not isinstance(vlm, VLM):
        raise ConfigError(
            f"{name} is no VLM: a VLM has name, capabilities, complete() and score_choices(); it lacks "
            f"{', '.join(part for part in _PARTS if not hasattr(vlm, part))}"
        )
    return vlm


def _tiny(model: str | Path | None, options: dict[str, Any]) -> VLM:
    read = partial(_options, TINY, "atari_vlm.vlm.local.options:LocalOptions")
    vlm: VLM = load("atari_vlm.vlm.local.tiny.backends:load_tiny")(
        None if model is None else str(model), options, read
    )
    return vlm


def _local(row: Entry, model: str, options: dict[str, Any]) -> VLM:
    local_options = _options(row.name, "atari_vlm.vlm.local.options:LocalOptions", options)
    vlm: VLM = load("atari_vlm.vlm.local.transformers_vlm:TransformersVLM")(
        row.backend, model, options=local_options
    )
    return vlm


def _options(name: str, entry_point: str, options: dict[str, Any]) -> Any:
    """An options dataclass from plain keywords; a wrong keyword is refused by name, and the nearest offered."""
    try:
        return from_plain(load(entry_point), options, f"--vlm {name}")
    except UnknownNameError as error:
        known = str(error).partition(": ")[2]
        raise ConfigError(f"--vlm {name} has no option {error.name!r}: {known}") from error

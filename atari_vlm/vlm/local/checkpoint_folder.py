"""A checkpoint's folder as it lies on somebody's disk: looked through before anything of it is loaded.

It was downloaded, so its files may be cut off, pointers instead of content, pipes, or made to do harm. Whatever is wrong ends
in one ``ModelNotAvailableError`` that names the file and what can be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atari_vlm import hub
from atari_vlm.errors import AtariVLMError, ModelNotAvailableError, VLMError
from atari_vlm.hub import reason_of

ALTERNATIVES = (
    "Alternatives: --model PATH (a folder with the weights), --base-url URL (an OpenAI-compatible server such as vLLM), "
    "--vlm scripted (the offline player)"
)
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")


def unavailable(what: str) -> ModelNotAvailableError:
    """The error for ``what``, with the alternatives."""
    return ModelNotAvailableError(f"{what.rstrip('.')}. {ALTERNATIVES}.")


@contextmanager
def with_alternatives() -> Iterator[None]:
    """What is not available in the block is said with the alternatives."""
    try:
        yield
    except ModelNotAvailableError as error:
        raise unavailable(str(error)) from error


def check_files(folder: Path) -> None:
    """Raise for parts of a checkpoint that are no real files, or Git LFS pointers instead of the content."""
    with with_alternatives():
        hub.check_files(folder, FILES)


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``."""
    with with_alternatives():
        return hub.read_object(file)


def check_adapter(folder: Path) -> None:
    """Raise for a LoRA adapter: it is no model, and transformers would load what it names as its base instead."""
    file = folder / "adapter_config.json"
    if not file.exists():
        return
    base = read_object(file).get("base_model_name_or_path")
    raise unavailable(
        f"{folder} holds a LoRA adapter (adapter_config.json, made for {base!r}). One of `atari_vlm.tune` is played with "
        "--adapter FOLDER beside its base's --model, or made whole by `python -m atari_vlm.tune merge`; another is merged "
        "into its base with peft (merge_and_unload, then save_pretrained). If whole weights lie beside it, move "
        "adapter_config.json away to load those"
    )


@contextmanager
def loading(name: str, folder: Path) -> Iterator[None]:
    """Whatever transformers, tokenizers or torch raise inside the block, as one sentence about ``name``."""
    try:
        yield
    except AtariVLMError:
        raise
    except MemoryError as error:
        raise unavailable(f"{name} does not fit the memory") from error
    except BaseException as error:  # a panic in Rust is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise unavailable(
            f"{name} cannot be loaded from {folder} ({reason_of(error)}){_quantisation(folder)}"
        ) from error


@contextmanager
def running(name: str) -> Iterator[None]:
    """Whatever the library that runs ``name`` raises inside the block, as one sentence."""
    try:
        yield
    except AtariVLMError:
        raise
    except MemoryError as error:
        raise unavailable(f"{name} ran out of memory") from error
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise unavailable(f"{name} ran out of memory ({error})") from error
        raise VLMError(f"the local model {name} failed: {type(error).__name__}: {error}") from error


def _quantisation(folder: Path) -> str:
    """How the weights are quantised, where config.json says so: most such ways need a package of their own, or a GPU."""
    settings = read_object(folder / "config.json").get("quantization_config")
    if not isinstance(settings, dict):
        return ""
    return (
        f". Its weights are quantised ({settings.get('quant_method')!r}): install the package that transformers names "
        "for it, or take the original weights, with load_in='4bit' where memory is short"
    )

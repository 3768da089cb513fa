"""A checkpoint's folder as it lies on somebody's disk: looked through before anything of it is loaded.

It was downloaded, so its files may be cut off, pointers instead of content, pipes, or made to do harm. Whatever is wrong ends
in one ``ModelNotAvailableError`` that names the file and what can be done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atari_vlm.errors import AtariVLMError, ConfigError, ModelNotAvailableError
from atari_vlm.files import open_real, read_real

ALTERNATIVES = (
    "Alternatives: --model PATH (a folder with the weights), --base-url URL (an OpenAI-compatible server such as vLLM), "
    "--vlm scripted (the offline player)"
)
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
_MOST_BYTES = 64 << 20  # of a configuration or an index; real ones are under 10 MiB
_LFS = b"version https://git-lfs.github.com/"


def unavailable(what: str) -> ModelNotAvailableError:
    """The error for ``what``, with the alternatives."""
    return ModelNotAvailableError(f"{what.rstrip('.')}. {ALTERNATIVES}.")


def check_files(folder: Path) -> None:
    """Raise for parts of a checkpoint that are no real files, or Git LFS pointers instead of the content."""
    for file in sorted(part for pattern in FILES for part in folder.glob(pattern)):
        with _about(file), open_real(file, 1 << 50, links=True) as stream:
            if stream.read(len(_LFS)) == _LFS:
                raise unavailable(
                    f"{file} is a Git LFS pointer, not the file itself: run `git lfs pull` in {folder}"
                )


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``."""
    with _about(file):
        value = json.loads(read_real(file, _MOST_BYTES, links=True).decode("utf-8"))
    if not isinstance(value, dict):
        raise unavailable(f"{file} holds no JSON object; the file is damaged, fetch it again")
    return value


def check_adapter(folder: Path) -> None:
    """Raise for a LoRA adapter: it is no model, and transformers would load what it names as its base instead."""
    file = folder / "adapter_config.json"
    if not file.exists():
        return
    base = read_object(file).get("base_model_name_or_path")
    raise unavailable(
        f"{folder} holds a LoRA adapter (adapter_config.json, made for {base!r}). Merge it into its base with peft "
        "(merge_and_unload, then save_pretrained) and load that folder, or, if whole weights lie beside it, move "
        "adapter_config.json away to load those"
    )


@contextmanager
def _about(file: Path) -> Iterator[None]:
    """What goes wrong inside the block is wrong with ``file``."""
    try:
        yield
    except ConfigError as error:
        raise unavailable(str(error)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise unavailable(f"{file} is damaged ({reason_of(error)}): fetch it again") from error


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


def reason_of(error: BaseException) -> str:
    """An error of somebody else's code on one line: its kind and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *(line[:300] for line in lines[:1])])


def _quantisation(folder: Path) -> str:
    """How the weights are quantised, where config.json says so: most such ways need a package of their own, or a GPU."""
    settings = read_object(folder / "config.json").get("quantization_config")
    if not isinstance(settings, dict):
        return ""
    return (
        f". Its weights are quantised ({settings.get('quant_method')!r}): install the package that transformers names "
        "for it, or take the original weights, with load_in='4bit' where memory is short"
    )

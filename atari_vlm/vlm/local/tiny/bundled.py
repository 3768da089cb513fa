"""The small model that ships with the package: where it lies and what it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError
from atari_vlm.hub import read_object
from atari_vlm.vlm.catalogue import BUNDLED, TINY

MADE, WEIGHTS = "made.json", "model.safetensors"
WRITES_NOTHING = f"the bundled model of --vlm {TINY} was trained to be scored and writes no replies: it plays with answer=scores"
NEW = "new"


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
            f"`tune sft --base {TINY} --model {NEW}` trained"
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
    unnamed = NEW if given.get("adapter") else BUNDLED
    return str(given.get("model") or unnamed)


def is_here() -> bool:
    """Whether this package brings a model."""
    return (_place() / WEIGHTS).is_file()


def _place() -> Path:
    return Path(str(resources.files("atari_vlm"))) / "data" / "tiny"

"""The model families by name, eight that see and one of texts alone: default model, licence, memory, limits.

The data is ``data/catalogue.json``.
Family names are stable; the default model behind each is dated. Any newer id is passed verbatim with ``--model``.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from atari_vlm.errors import UnknownNameError
from atari_vlm.vlm.prices import price_of

_FAMILIES = (  # how model ids begin -> family
    (r"gpt-?\d|chatgpt|o\d", "gpt-4o"),
    (r"claude", "claude"),
    (r"gemini", "gemini"),
    (r"q(?:wen|vq)[\d.]*-?(?:vl|omni)?", "qwen-vl"),
    (r"video-?llava", "video-llava"),
    (r"llava", "llava"),
    (r"cogvlm|cogagent|glm-\d[\d.]*v", "cogvlm2"),
    (r"idefics|smolvlm", "idefics2"),
)
TINY = "tiny"  # small models that `tune sft --base tiny` makes
BUNDLED = "bundled"  # the one that ships
OFFLINE_NAMES = ("scripted", "nearest-example", "replay")


@dataclass(frozen=True)
class Entry:
    """One family. ``memory_gb`` is for 16-bit weights, without activations; ``None`` for models behind an API."""

    name: str
    title: str
    kind: Literal["api", "local"]
    backend: str
    model: str
    key: str | None
    licence: str
    memory_gb: float | None
    context_tokens: int
    image_limit: str
    newer: str
    source: str
    best_for: str


_TINY = Entry(
    name=TINY,
    title="The small model that ships, or one of your own",
    kind="local",
    backend=TINY,
    model=BUNDLED,
    key=None,
    licence="MIT",
    memory_gb=0.01,
    context_tokens=4096,
    image_limit="none",
    newer="",
    source="atari_vlm.vlm.local.tiny.player",
    best_for="playing what it was trained on, on any CPU",
)


@functools.cache
def entries() -> dict[str, Entry]:
    """All families in catalogue order, by name."""
    text = resources.files("atari_vlm").joinpath("data/catalogue.json").read_text(encoding="utf-8")
    return {row["name"]: Entry(**row) for row in json.loads(text)["vlms"]}


def as_of() -> str:
    """The day the catalogue was checked, ISO."""
    text = resources.files("atari_vlm").joinpath("data/catalogue.json").read_text(encoding="utf-8")
    return str(json.loads(text)["as_of"])


def known_names() -> tuple[str, ...]:
    """Every name that ``--vlm`` takes."""
    return (*entries(), TINY, *OFFLINE_NAMES)


def entry(name: str) -> Entry:
    """Look up a family; ``UnknownNameError`` offers the nearest names, and for a model's id its family."""
    if name == TINY:
        return _TINY
    if name not in entries():
        family = family_of(name)
        hint = (
            "" if family is None else f"it is a model of a family: --vlm {family} --model {name};"
        )
        raise UnknownNameError("VLM", name, known_names(), hint)
    return entries()[name]


def family_of(model: str) -> str | None:
    """The family that a model's id belongs to by its beginning, organisation aside; ``None`` for a family's own name."""
    plain = model.casefold().rpartition("/")[2]
    if any(_letters(plain) == _letters(name) for name in known_names()):
        return None
    return next((family for start, family in _FAMILIES if re.match(start, plain)), None)


def family_by_model(model: str) -> str:
    """The family that a model's name alone leads to, for programs that need no pictures.

    A folder is a model of texts; ``gpt`` in a name means OpenAI, as in the source system, and what begins like another
    vendor's id that vendor; everything else is a model of texts, loaded through transformers.
    """
    if Path(model).expanduser().is_dir():
        return "text"
    if "gpt" in model.casefold():
        return "gpt-4o"
    family = family_of(model)
    return family if family is not None and entries()[family].kind == "api" else "text"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name)


def _price(row: Entry) -> str:
    if row.kind == "local":
        return "free (your hardware)"
    price = price_of(row.model)
    if price is None:
        return "unknown"
    return f"${price.input:g} in / ${price.output:g} out per M tokens, from {price.valid_from}"


def _hardware(row: Entry) -> str:
    if row.memory_gb is None:
        return "any: it runs at the vendor's"
    return f"a GPU with {row.memory_gb:g} GB and more in 16 bit, about {row.memory_gb / 3.5:.0f} GB in 4 bit (--load-in 4bit)"


def recommendations_table() -> str:
    """What ``--show-recommendations`` prints: one block per family, and where its numbers come from."""
    lines = [f"VLM families (checked {as_of()}; any newer model of a family: --model ID)", ""]
    for row in entries().values():
        lines += [
            f"--vlm {row.name}: {row.title} ({row.kind})",
            f"    best for  {row.best_for}",
            f"    cost      {_price(row)}",
            f"    hardware  {_hardware(row)}",
            f"    model     {row.model}" + (f"   (newer: {row.newer})" if row.newer else ""),
            f"    licence   {row.licence}",
            f"    context   {row.context_tokens:,} tokens; images: {row.image_limit}",
            *([f"    key       {row.key}"] if row.key else []),
            f"    source    {row.source}",
            "",
        ]
    lines.append(
        "Without key, GPU or network: --vlm tiny (a small model that ships), --vlm scripted (plays by rules), "
        "--vlm nearest-example (learns from its examples)."
    )
    return "\n".join(lines)

"""What answered in a run: the model that was asked for, the one that the replies name, the address, the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from atari_vlm import prompts
from atari_vlm.runs.journal import Journal

_MOST_NAMES = 8


def answered_in(journal: Journal, settings: Mapping[str, Any]) -> dict[str, str]:
    """What answered in a run of ``train`` or ``plan``, by name; ``settings`` are those of its config.yaml."""
    asked = str(settings.get("endpoint") or settings.get("vlm_type") or "unknown")
    return answered(asked, journal.replies(), settings.get("base_url"), settings.get("prompt_type"))


def answered(
    asked: str, replies: Iterable[Mapping[str, Any]], base_url: str | None, prompt_type: str | None
) -> dict[str, str]:
    """``asked`` is the VLM's own name; the replies are those of the journal. What is not known is left out."""
    served = list(dict.fromkeys(str(reply["model"]) for reply in replies if reply.get("model")))
    more = f" and {len(served) - _MOST_NAMES} more" if len(served) > _MOST_NAMES else ""
    facts = {
        "model asked for": asked,
        "model that answered": ", ".join(served[:_MOST_NAMES]) + more,
    }
    facts["address"] = base_url or ""
    if prompt_type:
        version, digest = prompts.prompt_version(prompt_type), prompts.prompt_hash(prompt_type)
        facts["prompt"] = f"{prompt_type}, version {version}, sha256 {digest}"
    return {name: value for name, value in facts.items() if value}


def one_line(facts: Mapping[str, str]) -> str:
    """The facts for a console."""
    return "; ".join(f"{name}: {value}" for name, value in facts.items())

"""Who writes the programs: from the options of a command line to a VLM."""

from __future__ import annotations

from typing import Any, Protocol

from atari_vlm.errors import ConfigError
from atari_vlm.runs.options import pairs
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.catalogue import entries, family_by_model
from atari_vlm.vlm.load import load_vlm
from atari_vlm.vlm.scripted.programs import LESSONS

# How the source system draws from models in process; left to itself a local model would give one reply for ever.
_DRAWN = {"temperature": 1.0, "top_p": 0.8, "top_k": 100}
_JUDGING_MS = 1500.0  # what a reply's program takes to be judged: a batch of replies waits for those who were answered before


class AskedWriter(Protocol):
    """The options of a command that say who writes."""

    @property
    def vlm(self) -> str | None: ...  # noqa: D102

    @property
    def model(self) -> str | None: ...  # noqa: D102

    @property
    def adapter(self) -> str | None: ...  # noqa: D102
    @property
    def base_url(self) -> str | None: ...  # noqa: D102

    @property
    def timeout_s(self) -> float: ...  # noqa: D102

    @property
    def vlm_option(self) -> tuple[str, ...]: ...  # noqa: D102

    def key(self) -> str | None: ...  # noqa: D102


def family_of(config: AskedWriter) -> str:
    """The family that ``--vlm`` names; without it ``--model`` decides, and without both the bundled writer is meant."""
    if config.vlm is not None:
        return config.vlm
    if config.model is not None:
        return family_by_model(config.model)
    if config.base_url is not None:
        raise ConfigError(
            "--base-url names a server, not which of its models writes: give --model too"
        )
    return "scripted"


def load_writer(config: AskedWriter, env_id: str) -> VLM:
    """The VLM that writes programs for an environment; ``ConfigError`` for one that cannot."""
    family = family_of(config)
    if family == "scripted" and not any(name in env_id for name in LESSONS):
        raise ConfigError(
            f"the bundled writer knows {', '.join(LESSONS)} only, not {env_id}: choose a model (--model ID or FOLDER)"
        )
    return load_asked(config)


def load_asked(config: AskedWriter) -> VLM:
    """The VLM that the options name; ``ConfigError`` for one that writes nothing of its own."""
    family = family_of(config)
    if family == "nearest-example":
        raise ConfigError("--vlm nearest-example writes no programs; --vlm scripted does, offline")
    in_process = (
        config.base_url is None and family in entries() and entries()[family].kind == "local"
    )
    options: dict[str, Any] = {
        **({**_DRAWN, "batch_wait_ms": _JUDGING_MS} if in_process else {}),
        **pairs(config.vlm_option, "--vlm-option"),
    }
    return load_vlm(
        family,
        model=config.model,
        adapter=config.adapter,
        api_key=config.key(),
        base_url=config.base_url,
        timeout_s=config.timeout_s,
        **options,
    )

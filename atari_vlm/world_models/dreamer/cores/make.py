"""Cores by name: ours, and those that other packages bring under the group ``atari_vlm.sequence_cores``.

The name of such an entry point is the core's kind, its object what makes one: ``(input_sizes, output_size, **sizes)`` to a
:class:`~atari_vlm.world_models.dreamer.cores.base.SequenceCore` that is a torch module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from atari_vlm._lazy import load
from atari_vlm.errors import ConfigError, UnknownNameError, check_count
from atari_vlm.plugins import installed, twin
from atari_vlm.settings import check_names
from atari_vlm.world_models.dreamer.cores.base import SequenceCore

ENTRY_POINTS = "atari_vlm.sequence_cores"
Factory = Callable[..., nn.Module]
Brought = tuple[Callable[[], Factory], str]  # what loads a factory, and the package that has it

_CORES = "atari_vlm.world_models.dreamer.cores"
_OURS = {
    "gru": f"{_CORES}.gru:GruCore",
    "block_gru": f"{_CORES}.block_gru:BlockGruCore",
    "mamba": f"{_CORES}.projected:mamba",
}
_REGISTERED: dict[str, Brought] = {}


def register_core(kind: str, factory: Factory, package: str = "this program") -> None:
    """Add a kind of core for this process, as an entry point does for all; ``ConfigError`` where another package has it."""
    others = [owner for name, (_, owner) in _brought() if name == kind and owner != package]
    if others:
        raise twin("sequence core", kind, others[0], package)
    _REGISTERED[kind] = (lambda: factory, package)


def core_kinds() -> tuple[str, ...]:
    """Every kind there is, ours first."""
    return tuple(dict.fromkeys(name for name, _ in _brought()))


def make_core(kind: str, input_sizes: Sequence[int], output_size: int, **sizes: Any) -> nn.Module:
    """A fresh core of a ``kind`` that reads positions of ``sum(input_sizes)`` numbers and gives ``output_size``.

    ``sizes`` are the kind's own: ``gru``: ``hidden``, ``learned_start``; ``block_gru``: ``hidden``, ``blocks`` (it projects each
    part of ``input_sizes`` by itself, the last is the action); ``mamba``: ``from_pretrained``, ``layers``, ``width``, those of
    :class:`~atari_vlm.world_models.dreamer.cores.mamba.MambaCore`. Raises ``UnknownNameError`` for a kind or size that is not
    there, ``ConfigError`` where two packages bring the kind or where sizes do not fit.
    """
    for size in (*input_sizes, output_size):
        check_count(size=size)
    factory = _factory(kind)
    _check_sizes(kind, factory, sizes)
    core = factory(tuple(input_sizes), output_size, **sizes)
    if not isinstance(core, SequenceCore) or not isinstance(core, nn.Module):
        raise ConfigError(
            f"the core {kind!r} is a torch module with init, step, scan and select, got {type(core).__name__}"
        )
    return core


def _brought() -> list[tuple[str, Brought]]:
    """Every kind with what loads it and who brings it; a kind may stand there twice."""
    ours = [(kind, _loader(name, "atari_vlm")) for kind, name in _OURS.items()]
    theirs = [(point.name, (point.load, package)) for point, package in installed(ENTRY_POINTS)]
    return [*ours, *_REGISTERED.items(), *theirs]


def _loader(entry_point: str, package: str) -> Brought:
    return lambda: load(entry_point), package


def _factory(kind: str) -> Factory:
    found = [brought for name, brought in _brought() if name == kind]
    if not found:
        raise UnknownNameError("sequence core", kind, core_kinds())
    if len(found) > 1:
        raise twin("sequence core", kind, found[0][1], found[1][1])
    return found[0][0]()


def _check_sizes(kind: str, factory: Factory, sizes: dict[str, Any]) -> None:
    """Raise for a size that the kind has not, and for one that it needs."""
    options = list(inspect.signature(factory).parameters.values())[2:]
    if all(option.kind != option.VAR_KEYWORD for option in options):
        check_names(sizes, [option.name for option in options], f"size of the core {kind!r}")
    needed = [
        option.name
        for option in options
        if option.default is option.empty and option.kind == option.KEYWORD_ONLY
    ]
    if missing := [name for name in needed if name not in sizes]:
        raise ConfigError(f"the core {kind!r} needs {', '.join(missing)}")

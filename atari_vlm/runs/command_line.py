"""The one line that asks for a run again."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm._lazy import load

_CONFIGS = {
    "evaluate": "atari_vlm.evaluation.cells:EvaluateConfig",
    "plan": "atari_vlm.plan:PlanConfig",
    "report results": "atari_vlm.reporting.atari100k.compare:ResultsConfig",
    "train": "atari_vlm.train:TrainConfig",
}


def command_line(program: str, options: Mapping[str, Any], positional: Sequence[str] = ()) -> str:
    """``python -m atari_vlm.PROGRAM`` with its positional words and the options that differ from the program's defaults; empty
    without options.
    """
    if not options:
        return ""
    defaults = {field.name: _default(field) for field in dataclasses.fields(load(_CONFIGS[program]))}
    words = [word for name, value in options.items() if value != defaults.get(name) for word in _words(name, value)]
    return " ".join(["python -m", f"atari_vlm.{program}", shlex.join([*positional, *words])]).strip()


def _default(field: Any) -> Any:
    value = field.default_factory() if field.default is dataclasses.MISSING else field.default
    return str(value) if isinstance(value, Path) else value


def _words(name: str, value: Any) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    return [f"--{option}", *map(str, value if isinstance(value, list) else [value])]

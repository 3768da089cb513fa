"""``tune onnx``: the form of a small model that plays without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from atari_vlm.runs.options import Options
from atari_vlm.runs.terminal import results
from atari_vlm.vlm.local.checkpoint_folder import unavailable
from atari_vlm.vlm.local.onnx.exporting import export


@dataclass(frozen=True)
class OnnxOptions(Options):
    """Write the ONNX form of a small model beside its whole weights (those of `tune merge`)."""

    program: ClassVar[str] = "tune onnx"
    folder: tyro.conf.Positional[Path]
    """folder with the weights; model.onnx is written there"""


def write_onnx(options: OnnxOptions) -> int:
    """Export, and print where the file lies; returns the exit code."""
    if not options.folder.is_dir():
        raise unavailable(f"{options.folder} is no folder with whole weights")
    results().print(str(export(options.folder)))
    return 0

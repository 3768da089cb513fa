"""Write a run's report: one self-contained HTML file that shows every step.

    python -m atari_vlm.report atari_vlm_results/Pong-scripted-cot-001
    python -m atari_vlm.report RUN --out pong.html --max-mb 60

Pictures come from playing the recorded actions again, so they take time and no disk. What does not fit into ``--max-mb`` is
left out, and the page says so.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from atari_vlm.ending import end_with
from atari_vlm.errors import AtariVLMError
from atari_vlm.reporting.run_report import write_report

__all__ = ["ReportConfig", "main", "write_report"]


@dataclass(frozen=True)
class ReportConfig:
    """Which run, and where to."""

    run: Annotated[Path, tyro.conf.Positional]
    """the folder of the run"""
    out: Path | None = None
    """the file to write (default: report.html in the run's folder)"""
    max_mb: float = 24.0
    """about how large the file may get"""


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, write the report, print its path."""
    try:
        config = tyro.cli(ReportConfig, args=argv, prog="python -m atari_vlm.report", description=__doc__)
        print(write_report(config.run, config.out, config.max_mb))
        return 0
    except (AtariVLMError, OSError) as error:
        return end_with(error)


if __name__ == "__main__":
    sys.exit(main())

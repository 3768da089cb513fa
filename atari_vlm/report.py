"""Write a run's report: one self-contained HTML file that shows every step.

    python -m atari_vlm.report atari_vlm_results/Pong-scripted-cot-001
    python -m atari_vlm.report RUN --out pong.html --max-mb 60
    python -m atari_vlm.report RUN --perception RUN2      # a study, with what its agents see beside what they score
    python -m atari_vlm.report results            # instead: published Atari 100k scores and own runs side by side
    python -m atari_vlm.report results --help
    python -m atari_vlm.report compare RUN RUN    # studies of one protocol as one
    python -m atari_vlm.report merge RUN RUN --out FOLDER # the shards of a study (evaluate --shard i/n) as one run
    python -m atari_vlm.report submit RUN         # a study as a bundle that others can play again
    python -m atari_vlm.report board FOLDER --out SITE    # play bundles again; a site of those that come out equal
    python -m atari_vlm.report export RUN --format lerobot --out FOLDER   # or minari: pictures, actions, rewards and all words
    python -m atari_vlm.report push FOLDER OWNER/NAME     # share a run, a checkpoint or a data set on the Hugging Face Hub
    python -m atari_vlm.report pull OWNER/NAME --out FOLDER

Pictures come from playing the recorded actions again, so they take time and no disk. What does not fit into ``--max-mb`` is
left out, and the page says so. A run folder that is itself named as one of these words is given as ``./results``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from atari_vlm.ending import program
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.board.board import build_board
from atari_vlm.evaluation.board.submitting import submit
from atari_vlm.evaluation.compare import compare
from atari_vlm.evaluation.merging import merge
from atari_vlm.evaluation.perception.beside import put_beside
from atari_vlm.evaluation.results_files import to_markdown
from atari_vlm.reporting.atari100k.compare import ResultsConfig
from atari_vlm.reporting.atari100k.files import write_comparison
from atari_vlm.reporting.export.commands import run_export
from atari_vlm.reporting.hub.commands import run_pull, run_push
from atari_vlm.reporting.page.run_report import write_report
from atari_vlm.reporting.study.page import is_study, write_study
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.options import Options
from atari_vlm.runs.terminal import messages, results

__all__ = ["ReportConfig", "ResultsConfig", "main", "write_comparison", "write_report"]

_RESULTS = """Compare methods on Atari 100k: tables with intervals, performance profiles, probability of improvement, plots.

    python -m atari_vlm.report results
    python -m atari_vlm.report results runs/Pong-rem-001 runs/Pong-rem-002 --out results/atari100k
    python -m atari_vlm.report results tuned=runs/Pong-rem-003 --baselines REM IRIS DIAMOND --games Pong Boxing

Without runs, published methods only. The page is ``OUT.md``; CSVs, JSON and plots (PNG and SVG, extra ``plots``) lie in the
folder ``OUT``. Equal input gives equal files.
"""


_COMPARE = """Merge studies of one protocol, and write their tables over all of them.

    python -m atari_vlm.report compare atari_vlm_results/first atari_vlm_results/second --out comparison

Runs of one agent (same name, model, address and options) are joined, seed by seed; different agents of one label get the run's
name beside it. Two protocols, the cut of episodes among them, are refused (exit code 2).
"""


@dataclass(frozen=True)
class CompareConfig(Options):
    """Which runs, and where to."""

    program = "report"

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """run folders of studies"""
    out: Path = Path("comparison")
    """the folder that receives results.csv, .json, .md, .tex, episodes.csv and paired.csv"""


_MERGE = """Put the shards of one study (evaluate --shard i/n) together in one run, as if one machine had played all of it.

    python -m atari_vlm.report merge runs/shard-1 runs/shard-2 runs/shard-3 --out runs/whole
    python -m atari_vlm.report merge runs/shard-* --out runs/whole

The order of the shards is free, and one that is given twice counts once. A shard that is missing or unfinished is named, and
nothing is written (exit code 2) but with --partial; so it is with shards of different studies.
"""


@dataclass(frozen=True)
class MergeConfig(Options):
    """Which shards, and where to."""

    program = "report"

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """run folders, one for each shard"""
    out: Path = Path("merged")
    """the run folder that receives the journal, results.csv, .json, .md, .tex, episodes.csv and paired.csv"""
    partial: bool = False
    """merge what there is, though shards are missing or unfinished; the tables say so"""


_SUBMIT = """Write a finished study as a bundle: what was played under which conditions, every action, reply and reward; no keys.

    python -m atari_vlm.report submit atari_vlm_results/evaluate-quick-001
    python -m atari_vlm.report submit RUN --out bundles/mine

The bundle (default: RUN/submission) is three plain files: submission.json, episodes.jsonl and manifest.json.
"""

_BOARD = """Play every episode of some bundles again, refuse what does not come out equal, and build a static site of the others.

    python -m atari_vlm.report board bundles --out site

A FOLDER is a bundle or holds bundles. The site is SITE/index.html, and board.json beside it. Exit code 1, and a line
``refused: BUNDLE: REASON`` for each, where any is refused.
"""


@dataclass(frozen=True)
class SubmitConfig(Options):
    """Which run, and where to."""

    program = "report"

    run: Annotated[Path, tyro.conf.Positional]
    """the folder of a finished study"""
    out: Path | None = None
    """the folder of the bundle (default: submission in the run's folder)"""
    trust_module: tuple[str, ...] = ()
    """modules of games of your own (module:Id) that may be imported; a board plays them only where it trusts them too"""


@dataclass(frozen=True)
class BoardConfig(Options):
    """Which bundles, and where to."""

    program = "report"

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """bundles, or folders that hold bundles"""
    out: Path = Path("board")
    """the folder of the site"""
    trust_module: tuple[str, ...] = ()
    """modules of games (module:Id) that may be imported for a bundle's sake: to import is to run"""


@dataclass(frozen=True)
class ReportConfig(Options):
    """Which run, and where to."""

    program = "report"

    run: Annotated[Path, tyro.conf.Positional]
    """the folder of the run"""
    out: Path | None = None
    """the file to write (default: report.html in the run's folder, tree.html of a search for programs)"""
    max_mb: float = 24.0
    """about how large the file may get"""
    trust_module: tuple[str, ...] = ()
    """modules of games of your own (module:Id) that may be imported for the run's pictures"""
    perception: tuple[Path, ...] = ()
    """of a study: runs of perceive, whose figures of the study's agents are put beside the scores and kept in its folder"""


def _report(config: ReportConfig) -> Path:
    """The page of a run; of a study the page with its tables, and beside it the one with every step."""
    if config.perception and config.out is not None:
        raise ConfigError("--perception is of a study's own page; leave --out away")
    if config.perception:
        put_beside(config.run, config.perception)
    if config.out is None and is_study(config.run) and (config.run / "results.json").is_file():
        return write_study(config.run, max_mb=config.max_mb, trusted=config.trust_module)
    return write_report(config.run, config.out, config.max_mb, config.trust_module)


def _board(config: BoardConfig) -> int:
    """The site of some bundles, and a line for each; the exit code."""
    found = build_board(
        config.folders,
        config.out,
        trusted=config.trust_module,
        say=lambda name: messages().print(f"playing again: {name}"),
    )
    for entry in found.accepted:
        results().print(f"accepted: {entry['bundle']}: {entry['steps']:,} steps")
    for entry in found.refused:
        results().print(f"refused: {entry['bundle']}: {entry['reason']}")
    results().print(config.out / "index.html")
    return 1 if found.refused else 0


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line, write the report or the comparison, print its path."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["results"]:
        path = write_comparison(parse(ResultsConfig, arguments[1:], _RESULTS))
    elif arguments[:1] == ["compare"]:
        asked = parse(CompareConfig, arguments[1:], _COMPARE)
        results().print(to_markdown(compare(asked.runs, asked.out)))
        path = asked.out / "results.md"
    elif arguments[:1] == ["merge"]:
        shards = parse(MergeConfig, arguments[1:], _MERGE)
        results().print(to_markdown(merge(shards.runs, shards.out, partial=shards.partial)))
        path = shards.out / "results.md"
    elif arguments[:1] == ["submit"]:
        handed_in = parse(SubmitConfig, arguments[1:], _SUBMIT)
        path = submit(handed_in.run, handed_in.out, handed_in.trust_module)
    elif arguments[:1] == ["board"]:
        return _board(parse(BoardConfig, arguments[1:], _BOARD))
    elif arguments[:1] == ["export"]:
        return run_export(arguments[1:])
    elif arguments[:1] in (["push"], ["pull"]):
        return (run_push if arguments[0] == "push" else run_pull)(arguments[1:])
    else:
        config = parse(ReportConfig, arguments, __doc__)
        path = _report(config)
    results().print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

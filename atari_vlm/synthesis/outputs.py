"""The files of a search, made from its journal and its result: written whole, so that a run that was continued has the same."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import load
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.files import atomic_write
from atari_vlm.reporting.tree.tree_report import write_tree
from atari_vlm.runs.journal_rows import NodeRow
from atari_vlm.runs.run_folder import RunFolder
from atari_vlm.synthesis.auditing import audit_harness
from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.recording import bytes_of, sha_of
from atari_vlm.synthesis.records import SearchResult
from atari_vlm.trees import map_leaves, take_rows
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.code.sandbox_local import LocalProgram

_MOST_STARTS = 64
_COLUMNS = tuple(item.name for item in dataclasses.fields(NodeRow))


def write_tables(run: RunFolder) -> None:
    """Write ``nodes.csv``, every program under ``programs/``, and ``tree.html``, as far as the search has come."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(dataclasses.astuple(row) for row in run.journal.nodes())
    atomic_write(run.path / "nodes.csv", table.getvalue())
    shas = {row.outcome["program"] for row in run.journal.simulations()} - {None}
    for sha in sorted(shas):
        file = run.path / "programs" / f"{sha}.py"
        if not file.is_file():
            atomic_write(file, run.journal.blob(sha))
    write_tree(run.path)


def write_results(
    run: RunFolder,
    result: SearchResult,
    buffer: TransitionBuffer,
    config: SearchConfig,
    writer: str,
) -> None:
    """Write all files of a finished search; the best program also as ``best.py`` and, if it runs, as a checkpoint."""
    write_tables(run)
    content = results_of(result, buffer, config, writer)
    if result.program is not None:
        atomic_write(run.path / "best.py", bytes_of(result.program))
        if content["runs"]:
            loaded = LocalProgram(result.program) if config.unsafe_local_code else result.program
            _write_checkpoint(run.path, loaded, buffer, content)
    atomic_write(run.path / "results.json", json.dumps(content, indent=1) + "\n")


def results_of(
    result: SearchResult, buffer: TransitionBuffer, config: SearchConfig, writer: str
) -> dict[str, Any]:
    """What ``results.json`` holds: scores, conditions and costs; no clocks."""
    program = result.program
    return {
        "method": config.method,
        "env": buffer.env_id,
        "scorer": config.scorer,
        "calls": result.calls,
        "score": result.score,
        "held_out_score": result.held_out_score,
        "cost_usd": result.cost_usd,
        "verified": result.verified,
        "runs": program is not None
        and not any(n.bug for n in result.nodes if n.program == program),
        "program": sha_of(program),
        "program_bytes": None if program is None else len(bytes_of(program)),
        "program_lines": None if program is None else len(program.splitlines()),
        "failures": dict(result.failures),
        "transitions": len(buffer),
        "writer": writer,
        "preset": config.preset,
        "seed": config.seed,
        "parallel": config.parallel,
        "budget": config.budget,
        "audit": dataclasses.asdict(audit_harness(buffer, config)),
        "weights": {kind: list(weights) for kind, weights in result.weights.items()},
    }


def _write_checkpoint(
    folder: Path, program: str | LocalProgram, buffer: TransitionBuffer, content: dict[str, Any]
) -> None:
    spaces = {
        "observation_space": buffer.observation_space,
        "action_space": buffer.action_space,
    }
    told = ("method", "env", "scorer", "score", "held_out_score", "cost_usd", "writer")
    make_model = load("atari_vlm.world_models.code.model:CodeWorldModel")
    with make_model(program, start=_starts(buffer), **spaces) as model:
        provenance = {"run": folder.name, **{name: content[name] for name in told}}
        model.save(folder / "checkpoint", provenance=provenance)


def _starts(buffer: TransitionBuffer) -> StartFrames:
    """First observations of the buffer's trajectories, so that a dream can begin from the checkpoint alone."""
    first = take_rows(buffer.observations, buffer.trajectory_starts[:_MOST_STARTS])
    contexts = map_leaves(lambda leaf: leaf[:, None], first)
    shape = (len(buffer.trajectory_starts[:_MOST_STARTS]), 0, *buffer.actions.shape[1:])
    return StartFrames(contexts, np.zeros(shape, buffer.actions.dtype))

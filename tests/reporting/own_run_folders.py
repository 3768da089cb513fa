"""Run folders as ``dream rem`` and ``train`` leave them, without anything being played."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rem_helpers import facts

from atari_vlm.runs.journal import Journal
from atari_vlm.settings import with_changes
from atari_vlm.world_models.rem.settings import preset


def rem_run(folder: Path, returns: Mapping[int, float], **options: Any) -> Path:
    """A REM run whose evaluations are given as epoch -> mean return. ``options``: game, seed, epochs (played), of, changes."""
    settings = with_changes(
        preset("tiny", facts(6)), {"epochs": options.get("of", 34), **options.get("changes", {})}
    )
    game = options.get("game", "Pong-v5")
    config = {
        "atari_vlm": "0.1.0",
        "identity": "0",
        "settings": {"rem": settings.as_dict(), "source": game, "seed": options.get("seed", 0)},
        "execution": {"device": "cpu", "precision": "f32"},
        "command": {"game": game, "preset": "tiny"},
    }
    lines = []
    for epoch in range(1, options.get("epochs", 34) + 1):
        line: dict[str, float] = {
            "epoch": epoch,
            "collection/steps": min(epoch, 24) * 150.0,
            "epoch/cpu_seconds": 1.0,
        }
        if epoch in returns:
            line |= {
                "evaluation/return": returns[epoch],
                "evaluation/episodes": 50.0,
                "evaluation/length": 900.0,
            }
        lines.append(line)
    return written(folder, config, lines)


def vlm_run(
    folder: Path, evaluations: Sequence[Mapping[str, Any]], finished: bool = True, **settings: Any
) -> Path:
    """A run of ``train``: its finished evaluations, each with ``after`` and ``episode_rewards``."""
    known = {
        "game_name": "Pong",
        "vlm_type": "gpt-4o",
        "model": None,
        "use_in_context_learning": False,
    }
    config = {
        "identity": "0",
        "settings": {**known, "seed": 0, "max_steps": 300, "env": {}, **settings},
    }
    lines = [
        {"kind": "evaluation", "strategy": "none", "fallback_rate": 0.125, **line}
        for line in evaluations
    ]
    written(folder, config, lines)
    with Journal(folder / "journal.sqlite") as journal:
        journal.set_meta(finished=finished)
    return folder


def written(folder: Path, config: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    plain = json.loads(json.dumps(config))  # no tuples, as in a real config.yaml
    (folder / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder

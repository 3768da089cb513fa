"""A board from bundles: each judged, the accepted ones shown by protocol, the others with the reason why not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.board.bundle import Refused, is_bundle
from atari_vlm.evaluation.board.judging import judge
from atari_vlm.files import atomic_write
from atari_vlm.reporting.board.site import board_page
from atari_vlm.runs.terminal import one_line
from atari_vlm.settings import plain

_MOST_BUNDLES = 10_000


@dataclass(frozen=True)
class Board:
    """What a board holds, as board.json has it."""

    accepted: tuple[dict[str, Any], ...]
    refused: tuple[dict[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"accepted": list(self.accepted), "refused": list(self.refused)}


def build_board(
    folders: Sequence[Path],
    site: Path,
    *,
    trusted: Collection[str] = (),
    say: Callable[[str], object] = lambda words: None,
) -> Board:
    """Judge every bundle in some folders and write ``board.json`` and ``index.html`` into ``site``.

    A folder is a bundle or holds bundles. ``say`` is told what is being judged. Raises ``ConfigError`` for a folder that is
    neither; a bundle that is bad is refused, whatever is wrong with it.
    """
    accepted: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    for name, folder in bundles_in(folders):
        say(name)
        try:
            verdict = judge(folder, trusted)
        except Refused as reason:
            refused.append({"bundle": name, "reason": one_line(" ".join(str(reason).split()))})
            continue
        accepted.append(
            {
                "bundle": name,
                "protocol": plain(verdict.protocol),
                "rows": plain(list(verdict.rows)),
                "steps": verdict.steps,
                "checked": list(verdict.checked),
            }
        )
    board = Board(tuple(accepted), tuple(refused))
    site.mkdir(parents=True, exist_ok=True)
    text = json.dumps(board.as_dict(), indent=1, allow_nan=False)
    atomic_write(site / "board.json", f"{text}\n")
    atomic_write(site / "index.html", board_page(board.as_dict()))
    return board


def bundles_in(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """The bundles that some folders are or hold, each once, by name: the folder's, with its parent's where that is not enough."""
    if not folders:
        raise ConfigError("give at least one folder of a bundle, or one that holds bundles")
    found: dict[Path, None] = {}
    for folder in folders:
        for path in _bundles(folder):
            found.setdefault(path)
    if len(found) > _MOST_BUNDLES:
        raise ConfigError(f"more than {_MOST_BUNDLES:,} bundles are judged in parts")
    short = [_absolute(path).name for path in found]
    return [(_name(path, short), path) for path in found]


def _bundles(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    if is_bundle(folder):
        return [folder]
    below = [Path(entry.path) for entry in sorted(os.scandir(folder), key=lambda e: e.name)]
    inside = [path for path in below if path.is_symlink() or path.is_dir()]
    bundles = [path for path in inside if is_bundle(path)]
    bundles += [path / "submission" for path in inside if is_bundle(path / "submission")]
    if not bundles:
        raise ConfigError(
            f"{folder} is no bundle and holds none (python -m atari_vlm.report submit RUN writes one)"
        )
    return bundles


def _name(path: Path, short: Sequence[str]) -> str:
    whole = _absolute(path)
    if whole.name != "submission" and short.count(whole.name) == 1:
        return whole.name
    named = [other for other in (whole.parent.name, whole.name) if other]
    return "/".join(named)


def _absolute(path: Path) -> Path:
    """Without following links."""
    return Path(os.path.abspath(path))

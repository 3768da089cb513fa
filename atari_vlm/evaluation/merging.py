"""The shards of a study as one run: their journals in one, and every table of the study made from it.

What the machines of a job array played is put together as if one machine had played it all: the same tables, and a run that
can be reported, submitted, continued and extended as any other. A shard may be a stranger's: its rows are checked as they are
read, only numbers and words are taken, and no game, model or module of it is opened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, MismatchError, RunError, reading
from atari_vlm.evaluation.cells import Cell, cells, named, units
from atari_vlm.evaluation.collecting import collect
from atari_vlm.evaluation.evaluate import run_request
from atari_vlm.evaluation.measured import Finished, episode_rows
from atari_vlm.evaluation.recorded_study import (
    RecordedStudy,
    StudyFacts,
    joined_facts,
    recorded_study,
    scenes_of_cells,
)
from atari_vlm.evaluation.results import Results
from atari_vlm.evaluation.results_files import write_results
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.player import EpisodeSpec
from atari_vlm.runs.run_folder import RunFolder, read_config
from atari_vlm.runs.sharding import Shard
from atari_vlm.settings import flat, plain

_SHOWN = 20  # shards or episodes that a message names


@dataclass(frozen=True)
class Part:
    """A run that is one shard of a study: what was played in it, and what its journal notes."""

    path: Path
    shard: Shard
    study: RecordedStudy
    version: str
    journal_id: str | None
    rows: Mapping[int, EpisodeRow]
    scenes: Mapping[str, Any]

    def journal(self) -> Journal:
        """Its journal, to be read."""
        return Journal(self.path / "journal.sqlite", read_only=True, noted_id=self.journal_id)


def merge(runs: Sequence[str | Path], out: str | Path, *, partial: bool = False) -> Results:
    """Put the shards of a study together in the run folder ``out``; the results of the study.

    With ``partial`` shards may be missing or unfinished: the run is then unfinished, and says so. Raises ``ConfigError`` for a
    folder that is no shard, for missing ones without ``partial`` and for an ``out`` that is taken, ``MismatchError`` for shards
    of different studies, ``RunError`` for a damaged journal. Nothing is written before all shards have been read.
    """
    folder, paths = Path(out), [Path(run) for run in runs]
    if not paths:
        raise ConfigError("give at least one run")
    if folder.resolve() in [path.resolve() for path in paths]:
        raise ConfigError(f"{folder} is one of the shards; choose another --out")
    if folder.exists() and not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder} exists and is no run; choose another --out")
    parts = [_read(path) for path in dict.fromkeys(paths)]
    for other in parts[1:]:
        _check_one_study(parts[0], other)
    laid_out = _Layout.of(parts[0].study, parts[0].shard.count)
    chosen = _one_each(parts, laid_out)
    _check_whole(chosen, laid_out, partial)
    return _write(chosen, laid_out, folder)


@dataclass(frozen=True)
class _Layout:
    """The whole study: its cells, and the episodes of every shard."""

    cells: Sequence[Cell]
    episodes: Mapping[int, Sequence[EpisodeSpec]]

    @classmethod
    def of(cls, study: RecordedStudy, count: int) -> _Layout:
        laid_out = cells(study, study.lessons)
        number = {unit: at % count + 1 for at, unit in enumerate(units(study))}
        episodes: dict[int, list[EpisodeSpec]] = {at: [] for at in range(1, count + 1)}
        for cell in laid_out:
            for seed, specs in cell.episodes.items():
                mine = episodes[number[(cell.game.name, *named(cell.variant), seed)]]
                mine.extend((*cell.lessons.get(seed, ()), *specs))
        return cls(laid_out, episodes)

    def left(self, part: Part) -> int:
        """How many episodes of a shard are still to be played."""
        done = {row.episode for row in part.rows.values() if row.status == "done"}
        return sum(spec.episode not in done for spec in self.episodes[part.shard.number])


def _read(path: Path) -> Part:
    config = read_config(path)
    shard = Shard.parse(config["settings"].get("shard", "1/1"))
    if config.get("parts"):
        raise ConfigError(
            f"{path} was extended, so its episodes are no shard's; merge the shards first"
        )
    noted = config.get("journal")
    journal_id = noted if isinstance(noted, str) else None
    with Journal(path / "journal.sqlite", read_only=True, noted_id=journal_id) as journal:
        meta, rows = journal.meta(), {row.episode: row for row in journal.episodes()}
    study = recorded_study(config, meta.get("study"), str(path))
    version = str(config.get("atari_vlm", ""))
    return Part(path, shard, study, version, journal_id, rows, meta)


def _check_one_study(first: Part, other: Part) -> None:
    """Raise ``MismatchError`` unless both are shards of one study, divided alike and played by one version."""
    ours, theirs = (
        flat({"shards": part.shard.count, "version": part.version, **_settings(part)})
        for part in (first, other)
    )
    different = [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
    if different:
        said = "; ".join(
            f"{n} {ours.get(n)!r:.60} and {theirs.get(n)!r:.60}" for n in different[:4]
        )
        raise MismatchError(
            f"{first.path} and {other.path} are shards of different studies ({said})"
        )


def _settings(part: Part) -> dict[str, Any]:
    study = part.study
    variants = [plain(facts) for facts in study.facts.variants]
    settings = dict(run_request(study).settings)
    return {**settings, "variants": variants}


def _one_each(parts: Sequence[Part], laid_out: _Layout) -> list[Part]:
    """One run for each shard, in order: of several the one that is finished; ``MismatchError`` where two finished otherwise."""
    chosen: dict[int, Part] = {}
    for part in parts:
        known = chosen.setdefault(part.shard.number, part)
        ends = laid_out.left(known), laid_out.left(part)
        if known is part or (ends[0] == 0 and ends[1] > 0):
            continue
        if ends[0] > 0 and ends[1] == 0:
            chosen[part.shard.number] = part
        elif _told(known) != _told(part):
            raise MismatchError(
                f"{known.path} and {part.path} are both shard {part.shard}, and were played differently; give one of them"
            )
    return [chosen[number] for number in sorted(chosen)]


def _told(part: Part) -> list[Any]:
    """What was done in a shard, clocks aside."""
    told: list[Any] = []
    with part.journal() as journal:
        for number, row in part.rows.items():
            steps = [
                (s.action, s.source, s.reward, s.terminated, s.truncated, s.info)
                for s in journal.steps(number)
            ]
            told.append((number, row.phase, row.seed, row.status, row.episode_return, steps))
    return told


def _check_whole(chosen: Sequence[Part], laid_out: _Layout, partial: bool) -> None:
    """Raise ``ConfigError``, which names them, where shards are missing or unfinished, unless that is known."""
    count = chosen[0].shard.count
    known = {part.shard.number for part in chosen}
    missing = [str(Shard(n, count)) for n in range(1, count + 1) if n not in known]
    begun = [str(part.shard) for part in chosen if laid_out.left(part)]
    for part in chosen:
        _check_rows(part, laid_out)
    if partial:
        return
    whole = "; merge what there is with --partial"
    if missing:
        word = "shard is" if len(missing) == 1 else "shards are"
        raise ConfigError(
            f"a part of the study is not here: missing {word} {_list(missing)}{whole}"
        )
    if begun:
        raise ConfigError(
            f"not finished: shard {_list(begun)}; the command of each goes on with it{whole}"
        )


def _check_rows(part: Part, laid_out: _Layout) -> None:
    """Raise ``RunError`` for episodes that are not a shard's."""
    wanted = {spec.episode: spec for spec in laid_out.episodes[part.shard.number]}
    for number, row in part.rows.items():
        spec = wanted.get(number)
        if spec is None or (row.phase, row.seed) != (spec.phase, spec.seed):
            raise RunError(f"{part.path}: episode {number} is none of shard {part.shard}")


def _list(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def _write(chosen: Sequence[Part], laid_out: _Layout, folder: Path) -> Results:
    """The run folder; one that a merge left unfinished is gone on with."""
    study, facts = chosen[0].study, joined_facts([part.study.facts for part in chosen])
    config = dataclasses.replace(study.config, save_dir=folder.parent, run_name=folder.name)
    whole = dataclasses.replace(study, config=config, facts=facts)
    run = RunFolder.open(run_request(whole))
    try:
        if run.parts:
            raise RunError(f"{folder} is a run that was extended; choose another --out")
        for part in chosen:
            _take_in(run.journal, part, laid_out)
        run.journal.set_meta(**scenes_of_cells(laid_out.cells, _Scenes(chosen)), study=plain(facts))
        results = _results(whole, facts, laid_out, run.journal)
        finished = Finished.of(run.journal)
        write_results(folder, results, list(episode_rows(laid_out.cells, finished)))
        if all(
            spec.episode in finished.rows for cell in laid_out.cells for spec in cell.everything
        ):
            run.finish()
    finally:
        run.close()
    return results


def _take_in(journal: Journal, part: Part, laid_out: _Layout) -> None:
    with part.journal() as source:
        for spec in laid_out.episodes[part.shard.number]:
            row = part.rows.get(spec.episode)
            if row is not None and row.status == "done":
                journal.take_in(source, row)


def _results(
    study: RecordedStudy, facts: StudyFacts, laid_out: _Layout, journal: Journal
) -> Results:
    noted = [(name, value) for name, value in facts.conditions]
    stand_ins = study.stand_ins()
    playing = [cell for cell in laid_out.cells if named(cell.variant) in stand_ins]
    results = collect(study, playing, stand_ins, journal, noted)
    absent = sum(len(c.everything) for c in laid_out.cells) - sum(
        len(c.everything) for c in playing
    )
    if absent:
        note = f"Shards are missing: {absent} episodes more are of agents that none of these shards plays."
        results = dataclasses.replace(results, notes=(*results.notes, note))
    return results


class _Scenes:
    """The environment of a cell, as one of the shards that played it notes it."""

    def __init__(self, chosen: Sequence[Part]):
        self._chosen = chosen

    def __call__(self, cell: Cell) -> Mapping[str, Any] | None:
        numbers = [str(spec.episode) for spec in cell.everything]
        for part in self._chosen:
            with reading(f"the environments of {part.path}", ConfigError):
                places = part.scenes.get("environment_of", {})
                number = next((places[n] for n in numbers if n in places), None)
                if number is not None:
                    return dict(part.scenes["environments"][number])
        return None

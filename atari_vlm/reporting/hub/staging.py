"""The files that go to the Hub: what of a folder is shared, cleaned of places, and looked through for keys."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from atari_vlm.errors import CheckpointError, ConfigError, RunError, reading
from atari_vlm.experience.episode_files import write_episodes
from atari_vlm.experience.minari import episodes_of_folder
from atari_vlm.files import check_no_links, read_real
from atari_vlm.reporting.hub.cleaning import Cleaner, check_no_key
from atari_vlm.reporting.hub.describing import ABOUT, Kind, is_checkpoint, is_minari
from atari_vlm.runs.run_folder import read_config
from atari_vlm.runs.run_lock import hold_lock
from atari_vlm.sharing.contents import CARD, WORDS, check_content, check_name, why_left_out
from atari_vlm.world_models.checkpoint_files import (
    CONFIG,
    MANIFEST,
    PROGRAM,
    PROVENANCE,
    from_json,
    read_files,
    to_json,
)

_MOST_WORDS = 1 << 27
_TO_GO_ON = ("checkpoints", "replay")


@dataclass(frozen=True)
class Item:
    """A file of the repository: its name there, and its content or where that lies."""

    name: str
    content: Path | bytes


@dataclass(frozen=True)
class Staged:
    """What is shared of a folder, and what is not (name, reason)."""

    items: tuple[Item, ...]
    left_out: tuple[tuple[str, str], ...]


def cleaner_of(folder: Path, kind: Kind) -> Cleaner:
    """Knows the folder's own place, the home folder, where we are, and where a run was started."""
    places = [folder.absolute(), folder.absolute().parent, Path.home(), Path.cwd()]
    if kind == "run" and (started := read_config(folder).get("directory")):
        places.append(Path(str(started)))
    return Cleaner(places)


def staged(folder: Path, kind: Kind, cleaner: Cleaner, scratch: Path, game: str | None) -> Staged:
    """The files of ``folder`` that are shared; what is made for it lies in ``scratch``.

    Raises ``ConfigError`` for links, keys, files that are not what they are called and checkpoints that are programs, and
    ``RunError`` for a run that is being written.
    """
    check_no_links(folder)
    if kind == "dataset" and is_minari(folder):
        return Staged(tuple(_converted(folder, scratch, cleaner, game)), ())
    if kind == "run":
        _check_quiet(folder)
    items: list[Item] = []
    left_out: list[tuple[str, str]] = []
    for at, folders, files in os.walk(folder):
        here = Path(at)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [f for f in folders if _stays(here / f, folder, kind, left_out)]
        if is_checkpoint(here):
            items += _checkpoint(here, folder, cleaner, alone=here == folder)
            continue
        for file in sorted(files):
            name = (here / file).relative_to(folder).as_posix()
            if name == CARD or file.endswith(("-wal", "-shm")):
                continue  # made anew; part of the journal's copy
            if (reason := why_left_out(name)) is not None:
                left_out.append((name, reason))
                continue
            items.append(_item(here / file, name, cleaner, scratch))
    if kind == "dataset":
        items = _with_about(items, game)
    for item in items:
        _check(item)
    return Staged(tuple(items), tuple(left_out))


def _stays(path: Path, folder: Path, kind: Kind, left_out: list[tuple[str, str]]) -> bool:
    """Whether a folder inside is shared: none that only goes on with the training, none with a program in it."""
    name = path.relative_to(folder).as_posix()
    if kind == "run" and name in _TO_GO_ON:
        left_out.append((f"{name}/", "what only goes on with the training"))
        return False
    if (path / PROGRAM).exists():
        left_out.append((f"{name}/", "code"))
        return False
    return True


def _item(path: Path, name: str, cleaner: Cleaner, scratch: Path) -> Item:
    suffix = path.suffix.lower()
    if suffix == ".sqlite":
        return Item(name, _copied(path, scratch / name))
    if suffix in WORDS and path.stat().st_size <= _MOST_WORDS:
        with reading(path, ConfigError):
            return Item(name, cleaner.text(read_real(path, _MOST_WORDS).decode()).encode())
    return Item(name, path)


def _check(item: Item) -> None:
    check_name(item.name)
    if isinstance(item.content, Path):
        check_content(item.content, item.name)
    suffix = PurePosixPath(item.name).suffix.lower()
    if suffix in WORDS or suffix == ".sqlite":
        check_no_key(item.content, item.name)


def _copied(journal: Path, copy: Path) -> Path:
    """A journal as one file, with what SQLite keeps beside it."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    with reading(journal, RunError):
        address = f"{journal.absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(address, uri=True)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
    return copy


def _checkpoint(here: Path, folder: Path, cleaner: Cleaner, *, alone: bool) -> Iterator[Item]:
    """The files of a checkpoint: descriptions cleaned, and a manifest that is of them."""
    with reading(here, CheckpointError):
        contents = read_files(here)
    if PROGRAM in contents:
        raise ConfigError(
            f"{here} is a checkpoint that is a program, and no code is shared this way: hand its {PROGRAM} on as any other source"
        )
    manifest = from_json((here / MANIFEST).read_bytes(), MANIFEST)
    for name in (CONFIG, PROVENANCE):
        raw = to_json(cleaner.data(from_json(contents[name], name)))
        entry = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        contents[name], manifest["files"][name] = raw, entry
    before = "" if alone else f"{here.relative_to(folder).as_posix()}/"
    for name in contents:
        cleaned = name in (CONFIG, PROVENANCE)
        yield Item(before + name, contents[name] if cleaned else here / name)
    yield Item(before + MANIFEST, to_json(manifest))


def _converted(folder: Path, scratch: Path, cleaner: Cleaner, game: str | None) -> Iterator[Item]:
    """A Minari data set as npz: HDF5 can hold links to other files, so it is not shared."""
    about, episodes, space = episodes_of_folder(folder)
    if not episodes:
        raise ConfigError(f"{folder} holds no episode")
    path = scratch / "episodes.npz"
    write_episodes(path, episodes, space)
    told = cleaner.data({**about, "game": game or about["game"]})
    yield Item(ABOUT, to_json(told))
    yield Item(path.name, path)


def _with_about(items: list[Item], game: str | None) -> list[Item]:
    """The files of a data set, with the game in ``dataset.json`` where it was said."""
    if game is None:
        return items
    return [*(i for i in items if i.name != ABOUT), Item(ABOUT, to_json({"game": game}))]


def _check_quiet(run: Path) -> None:
    """Raise ``RunError`` while another process writes the run."""
    if (run / "lock").is_file():
        hold_lock(run).close()

"""A run as a data set in the form of LeRobot v3.0: Parquet with the pictures in it as PNG, and JSON and Parquet about it.

A row is a step: the picture and facts that the agent saw, what it did, what came of it (``next.*``), and the words that went with
it. The pictures are kept in the rows (feature ``image``) and not as films, which lose pixels. What was seen after an episode's
last step has no row in this form and is left out.

Source: LeRobot's documentation of its data set format, and what its loader of 0.6 reads: ``meta/info.json``,
``meta/tasks.parquet``, ``meta/episodes``, ``meta/stats.json``, ``data/chunk-*/file-*.parquet``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PIL

from atari_vlm._lazy import require
from atari_vlm.errors import MismatchError, RunError
from atari_vlm.files import atomic_write
from atari_vlm.reporting.export.retelling import WORDS, Retold
from atari_vlm.reporting.export.statistics import Statistics

VERSION = "v3.0"
PICTURE = "observation.images.screen"
TEXT, DIGEST = "observation.text", "observation.sha256"
_FILE_BYTES = 100 << 20  # LeRobot's own limit of a data file
_FILES_IN_CHUNK = 1000
_NUMBERS = {
    "action": "int64",
    "next.reward": "float32",
    "next.terminated": "bool",
    "next.truncated": "bool",
    "next.done": "bool",
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
_TEXTS = (TEXT, DIGEST, *WORDS)
_PLACE = "chunk-{:03d}/file-{:03d}.parquet"


class LeRobotWriter:
    """Writes episodes one at a time into ``folder``; :meth:`close` writes what is said about them."""

    def __init__(self, folder: Path):
        self._arrow, self._parquet = (
            require("pyarrow", "lerobot"),
            require("pyarrow.parquet", "lerobot"),
        )
        self._folder = folder
        self._file: Any = None
        self._number = -1  # of the file that is being written
        self._bytes = 0
        self._steps = 0
        self._first: Retold | None = None
        self._episodes: list[dict[str, Any]] = []
        self._tasks: dict[str, int] = {}
        self._statistics = Statistics()

    def add(self, told: Retold) -> None:
        """Append an episode; its pictures, buttons and speed must be those of the first one."""
        first = self._first = self._first or told
        for what in ("size", "action_names", "fps"):
            if getattr(told, what) != getattr(first, what):
                raise MismatchError(
                    f"episode {told.row.episode} has another {what.replace('_', ' ')} than the first one, "
                    f"{getattr(told, what)} and {getattr(first, what)}: they are not of one data set"
                )
        task = self._tasks.setdefault(f"Play {told.game}.", len(self._tasks))
        rows = self._rows(told, task)
        table = self._arrow.table(rows, schema=self._schema())
        size = sum(map(len, told.pictures)) + sum(len(t) for name in _TEXTS for t in rows[name])
        if self._file is None or self._bytes + size > _FILE_BYTES:
            self._next_file()
        self._file.write_table(table)
        self._bytes += size
        self._note(told)
        self._steps += len(told)

    def close(self) -> None:
        """Finish the files."""
        if self._file is not None:
            self._file.close()
        meta = self._folder / "meta"
        episodes = meta / "episodes" / _PLACE.format(0, 0)
        episodes.parent.mkdir(parents=True)
        self._parquet.write_table(self._arrow.Table.from_pylist(self._episodes), episodes)
        self._write_tasks(meta / "tasks.parquet")
        atomic_write(meta / "info.json", json.dumps(self._info(), indent=4) + "\n")
        atomic_write(meta / "stats.json", json.dumps(self._statistics.told(), indent=4) + "\n")

    def _next_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._number, self._bytes = self._number + 1, 0
        path = self._folder / "data" / _PLACE.format(*divmod(self._number, _FILES_IN_CHUNK))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._parquet.ParquetWriter(path, self._schema(), compression="zstd")

    def _rows(self, told: Retold, task: int) -> dict[str, Any]:
        steps = len(told)
        at = np.arange(steps)
        numbers: dict[str, np.ndarray] = {
            "action": told.actions,
            "next.reward": told.rewards.astype(np.float32),
            "next.terminated": told.terminated,
            "next.truncated": told.truncated,
            "next.done": told.terminated | told.truncated,
            "timestamp": (at / told.fps).astype(np.float32),
            "frame_index": at,
            "episode_index": np.full(steps, len(self._episodes)),
            "index": at + self._steps,
            "task_index": np.full(steps, task),
        }
        self._statistics.add(numbers, told.pictures[:steps], PICTURE)
        names = (f"episode-{len(self._episodes):06d}-{step:06d}.png" for step in range(steps))
        pictures = [
            {"bytes": png, "path": name}
            for png, name in zip(told.pictures[:steps], names, strict=True)
        ]
        texts = {TEXT: told.texts[:steps], DIGEST: told.digests[:steps], **told.words}
        return {PICTURE: pictures, **texts, **numbers}

    def _note(self, told: Retold) -> None:
        chunk, file = divmod(self._number, _FILES_IN_CHUNK)
        self._episodes.append(
            {
                "episode_index": len(self._episodes),
                "tasks": [f"Play {told.game}."],
                "length": len(told),
                "dataset_from_index": self._steps,
                "dataset_to_index": self._steps + len(told),
                "data/chunk_index": chunk,
                "data/file_index": file,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                "agent": told.agent,
                "phase": told.row.phase,
                "seed": told.row.seed,
                "episode_in_run": told.row.episode,
                "return": float(told.rewards.sum()),
            }
        )

    def _schema(self) -> Any:
        arrow = self._arrow
        picture = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        kinds = {"bool": arrow.bool_(), "int64": arrow.int64(), "float32": arrow.float32()}
        fields = [(PICTURE, picture), *((name, arrow.string()) for name in _TEXTS)]
        fields += [(name, kinds[kind]) for name, kind in _NUMBERS.items()]
        features = {PICTURE: {"_type": "Image"}}
        features |= {name: {"dtype": "string", "_type": "Value"} for name in _TEXTS}
        features |= {name: {"dtype": k, "_type": "Value"} for name, k in _NUMBERS.items()}
        told = json.dumps(
            {"info": {"features": features}}
        )  # how the library datasets tells a picture from a struct
        return arrow.schema(fields, metadata={"huggingface": told})

    def _write_tasks(self, path: Path) -> None:
        """The tasks by their words: an index in the sense of pandas, which is how the loader looks them up."""
        arrow = self._arrow
        table = arrow.table({"task_index": list(self._tasks.values()), "task": list(self._tasks)})
        column = {"field_name": "task", "name": "task", "pandas_type": "unicode"}
        index = {**column, "numpy_type": "object", "metadata": None}
        number = {"field_name": "task_index", "name": "task_index", "pandas_type": "int64"}
        pandas = {
            "index_columns": ["task"],
            "column_indexes": [],
            "columns": [{**number, "numpy_type": "int64", "metadata": None}, index],
            "creator": {"library": "pyarrow", "version": arrow.__version__},
            "pandas_version": "2.0.0",
        }
        table = table.replace_schema_metadata({"pandas": json.dumps(pandas)})
        self._parquet.write_table(table, path)

    def _info(self) -> dict[str, Any]:
        first = self._first
        assert first is not None  # an export has an episode
        shape = [*first.size, 3]
        one: dict[str, Any] = {"shape": [1], "names": None}
        features: dict[str, Any] = {
            PICTURE: {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]},
            **{name: {"dtype": "string", **one} for name in _TEXTS},
            **{name: {"dtype": kind, **one} for name, kind in _NUMBERS.items()},
        }
        return {
            "codebase_version": VERSION,
            "robot_type": f"atari_vlm/{first.game}",
            "total_episodes": len(self._episodes),
            "total_frames": self._steps,
            "total_tasks": len(self._tasks),
            "chunks_size": _FILES_IN_CHUNK,
            "data_files_size_in_mb": _FILE_BYTES >> 20,
            "video_files_size_in_mb": 200,
            "fps": first.fps,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": None,
            "features": features,
            "action_names": list(first.action_names),
        }


def write_lerobot(folder: Path, episodes: Iterable[Retold]) -> tuple[int, int]:
    """Write episodes into an empty folder and read them back; how many, and how many steps.

    ``RunError`` if a picture that is read back is not the one that was played.
    """
    writer = LeRobotWriter(folder)
    count = steps = 0
    for told in episodes:
        writer.add(told)
        count, steps = count + 1, steps + len(told)
    writer.close()
    _check_read_back(folder)
    return count, steps


def _check_read_back(folder: Path) -> None:
    parquet = require("pyarrow.parquet", "lerobot")
    for path in sorted((folder / "data").glob("*/*.parquet")):
        for batch in parquet.ParquetFile(path).iter_batches(64, columns=[PICTURE, DIGEST]):
            for row in batch.to_pylist():
                if not _is_played(row):
                    raise RunError(f"{path} does not hold the pictures that were played")


def _is_played(row: Mapping[str, Any]) -> bool:
    picture = PIL.open(io.BytesIO(row[PICTURE]["bytes"]))
    same: bool = hashlib.sha256(picture.tobytes()).hexdigest() == row[DIGEST]
    return picture.mode == "RGB" and same

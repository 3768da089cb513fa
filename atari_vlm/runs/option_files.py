"""Options from files as arguments before those of the command line, so that the command line wins."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.runs.run_folder import existing_run, read_config
from atari_vlm.yaml_files import read_yaml

_NEVER_FROM_A_FILE = ("config", "resume")


def with_files(argv: Sequence[str], config_class: Any) -> list[str]:
    """``argv`` with the options of ``--config FILE`` and ``--resume RUN`` put before it.

    ``config_class`` is the program's dataclass; it has ``save_dir``, where a run is looked for by its name. Raises
    ``ConfigError`` for a file that cannot be read, an unknown option, or a key in a file.
    """
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--config", "--resume", "--save-dir"):
        first.add_argument(flag)
    known, _ = first.parse_known_args([_with_hyphens(word) for word in argv])
    recorded: list[str] = []
    if known.config is not None:
        recorded += _as_arguments(_read(Path(known.config)), known.config, config_class)
    if known.resume is not None:
        run = existing_run(Path(known.save_dir or config_class.save_dir), known.resume)
        recorded += _as_arguments(read_config(run).get("command") or {}, str(run), config_class)
    return [*recorded, *argv]


def _with_hyphens(word: str) -> str:
    """``--save_dir=X`` as ``--save-dir=X``; both are understood on the command line."""
    flag, equals, value = word.partition("=")
    return (flag.replace("_", "-") + equals + value) if word.startswith("--") else word


def _read(path: Path) -> dict[str, Any]:
    """A plain mapping of options, or the ``command`` of a run's config.yaml."""
    content = read_yaml(path, what=f"--config {path}")
    command = content.get("command")
    return command if isinstance(command, dict) else content


def _as_arguments(options: Mapping[str, Any], where: str, config_class: Any) -> list[str]:
    known = {field.name for field in dataclasses.fields(config_class)} - set(_NEVER_FROM_A_FILE)
    arguments: list[str] = []
    for name, value in options.items():
        key = str(name).replace("-", "_")
        if key not in known:
            raise UnknownNameError(f"option in {where}", name, known)
        if key == "api_key":
            raise ConfigError(
                f"{where} holds an API key; keys come from --api-key or the vendor's environment variable"
            )
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(flag if value else "--no-" + flag[2:])
        else:
            arguments += [flag, *map(str, value if isinstance(value, list) else [value])]
    return arguments

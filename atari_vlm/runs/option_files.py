"""Options below those of the command line: from a file (``--config``), and from the run that is continued (``--resume``).

A run folder may be a stranger's. What runs code, opens an address, or reads or writes somewhere (the options that are marked
:data:`~atari_vlm.runs.options.TYPED_ONLY`) is never taken from one: the whole command is shown instead, for the user to judge.
"""

from __future__ import annotations

import dataclasses
import shlex
from argparse import ArgumentParser
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError
from atari_vlm.runs.continuing import started_in
from atari_vlm.runs.options import Options, is_typed_only, names_of
from atari_vlm.runs.run_folder import existing_run, read_config
from atari_vlm.settings import check_names, plain, typed
from atari_vlm.vlm.remote.keys import refuse_keys
from atari_vlm.yaml_files import read_yaml

_FROM_NO_FILE = ("config", "study", "resume")


def options_below(kind: type[Options], argv: Sequence[str]) -> dict[str, Any]:
    """What the command line says nothing about: the recorded options of ``--resume RUN``, over them those of ``--config``.

    Raises ``ConfigError`` for a file that cannot be read, an unknown option, a key in a file, and a run that needs what is
    only taken from the command line.
    """
    if "config" not in names_of(kind):
        return {}
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    files = [name for name in ("config", "study") if name in names_of(kind)]
    for flag in ("--resume", "--save-dir", *(f"--{name}" for name in files)):
        first.add_argument(flag)
    known, _ = first.parse_known_args([_with_hyphens(word) for word in argv])
    given = given_names(kind, argv)
    below: dict[str, Any] = {}
    for name in files:
        if (file := getattr(known, name)) is not None:
            below = {**_from_file(kind, f"--{name}", Path(file), given), **below}
    if known.resume is not None and "resume" in names_of(kind):
        run = existing_run(Path(known.save_dir or _default(kind, "save_dir")), known.resume)
        below = {**_from_run(kind, read_config(run), run, {*given, *below}), **below}
    return below


def recorded_options(kind: type[Options], recorded: Any, where: str) -> dict[str, Any]:
    """The recorded options of a run, typed, for whoever reads it; nothing is to be opened or run that they name."""
    return _checked(kind, recorded, where)


def given_names(kind: type[Options], argv: Sequence[str]) -> set[str]:
    """The options that stand on the command line."""
    known = {item.name for item in dataclasses.fields(kind)}
    names = {word.partition("=")[0][2:].replace("-", "_") for word in argv if word.startswith("--")}
    return {name if name in known else name.removeprefix("no_") for name in names}


def option_words(name: str, value: Any) -> list[str]:
    """An option as words of a command line."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if name.endswith("_option"):
        return [word for item in value for word in (f"--{flag}", str(item))]
    return [f"--{flag}", *map(str, value if isinstance(value, (list, tuple)) else [value])]


def _with_hyphens(word: str) -> str:
    """``--save_dir=X`` as ``--save-dir=X``; both are understood on the command line."""
    flag, equals, value = word.partition("=")
    return (flag.replace("_", "-") + equals + value) if word.startswith("--") else word


def _from_file(
    kind: type[Options], flag: str, path: Path, given: Collection[str]
) -> dict[str, Any]:
    """A plain mapping of options, or the ``command`` of a run's config.yaml, which is trusted no more than the run."""
    content = read_yaml(path, what=f"{flag} {path}")
    if isinstance(content.get("command"), dict):
        return _from_run(kind, content, path, given)
    return _checked(kind, kind.in_file(content), str(path))


def _from_run(
    kind: type[Options], config: Mapping[str, Any], run: Path, given: Collection[str]
) -> dict[str, Any]:
    """The recorded options that may be taken; ``ConfigError`` with the whole command if others are needed."""
    items = {item.name: item for item in dataclasses.fields(kind)}
    begun = {"config", *(name for name, item in items.items() if "at start" in item.metadata)}
    recorded = config.get("command") or {}
    if isinstance(recorded, Mapping):  # older runs recorded them too
        recorded = {name: value for name, value in recorded.items() if name not in begun}
    values = {
        name: value
        for name, value in _checked(kind, recorded, str(run)).items()
        if items[name].metadata.get("unless") not in given  # another option is given in its place
    }
    withheld = {
        name: _from_here(started_in(config), plain(value))
        for name, value in values.items()
        if name not in given
        and is_typed_only(name, value, {**values, **dict.fromkeys(given)}, items[name])
    }
    if withheld:
        words = [
            "--resume",
            str(run),
            *(word for name, value in withheld.items() for word in option_words(name, value)),
        ]
        raise ConfigError(
            f"{run} was made with {', '.join('--' + name.replace('_', '-') for name in withheld)}; what runs code, opens an "
            "address, or reads or writes elsewhere is not taken from a run. If you trust it, give the whole command: "
            f"python -m atari_vlm.{kind.program} {shlex.join(words)}"
        )
    return values


def _from_here(home: Path, value: Any) -> Any:
    """A path that was relative to where the run was started, for use here."""
    is_path = isinstance(value, str) and not Path(value).exists() and (home / value).exists()
    return str(home / value) if is_path else value


def _checked(kind: type[Options], options: Any, where: str) -> dict[str, Any]:
    """Options under their names and of their types."""
    if not isinstance(options, Mapping):
        raise ConfigError(f"{where} must hold options, one 'name: value' a line")
    named = {str(name).replace("-", "_"): value for name, value in options.items()}
    if "api_key" in named:
        raise ConfigError(
            f"{where} holds an API key; keys come from --api-key, --api-key-env or the vendor's environment variable"
        )
    items = [item.name for item in dataclasses.fields(kind) if item.name not in _FROM_NO_FILE]
    check_names(named, items, f"option in {where}")
    refuse_keys({f"{name} in {where}": value for name, value in named.items()})
    return typed(kind, named, where)


def _default(kind: type[Options], name: str) -> Any:
    return next(item.default for item in dataclasses.fields(kind) if item.name == name)

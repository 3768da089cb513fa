"""From a command line to a configuration, and back to the line that asks for the same again."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro

from atari_vlm.runs.option_files import option_words, options_below
from atari_vlm.runs.options import Options, has_to_be_typed
from atari_vlm.settings import is_same, plain
from atari_vlm.vlm.remote.keys import refuse_keys

C = TypeVar("C", bound=Options)
_KEEP_BREAK = "\u200b"  # has no width; tyro joins a line to the last one if it begins with a letter
_LIMIT_OPTIONS = {"usd": "budget_usd", "calls": "max_calls", "tokens": "max_tokens"}


def parse(kind: type[C], argv: Sequence[str] | None, text: str | None) -> C:
    """The configuration that a command line asks for; ``argv=None`` is the process's own. ``text`` heads ``--help``.

    Options come from the command line, below it from ``--config FILE`` and ``--resume RUN``. A key in a place that is not
    meant for one is refused without being shown.
    """
    words = _alone(kind, sys.argv[1:] if argv is None else argv)
    words = _switched(kind, _words(kind, words))
    _refuse_keys(words)
    prog, heading = f"python -m atari_vlm.{kind.program}", wrapped(text or "")
    groups = list(_groups(kind))
    if groups == [kind]:
        return tyro.cli(kind, args=words, prog=prog, description=heading)
    below = {} if {"-h", "--help"} & set(words) else options_below(kind, words)
    form = dataclasses.make_dataclass("form", [_field(kind, group, below) for group in groups])
    filled: Any = tyro.cli(form, args=words, prog=prog, description=heading)
    names = [(_title(group), item.name) for group in groups for item in dataclasses.fields(group)]
    return kind(**{name: getattr(getattr(filled, title), name) for title, name in names})


def wrapped(text: str) -> str:
    """A program's description for the width of the terminal; indented lines stay as they are."""
    width = max(40, shutil.get_terminal_size().columns - 1)

    def fill(part: str) -> str:
        return f"\n{_KEEP_BREAK}".join(textwrap.wrap(part, width, break_on_hyphens=False))

    return "\n\n".join(
        part if part.startswith(" ") else fill(part) for part in text.strip().split("\n\n")
    )


def command_of(config: Options) -> dict[str, Any]:
    """The options as plain data for a run's config.yaml: no key, and nothing that names the run."""
    items = [item for item in dataclasses.fields(config) if item.metadata.get("recorded", True)]
    return {item.name: plain(getattr(config, item.name)) for item in items}


def command_line(config: Options, positional: Sequence[str] = ()) -> str:
    """The line that asks for the same again: what differs from the program's defaults, without key and name of the run."""
    defaults = type(config)()
    changed = {k: v for k, v in command_of(config).items() if not is_same(v, getattr(defaults, k))}
    return line_of(config.program, changed, positional)


def recorded_line(config: Mapping[str, Any]) -> str:
    """The command line that a run's config.yaml holds; of older runs every option, of runs that no program made nothing."""
    command = config.get("command") or {}
    if config.get("command_line") or not command:
        return str(config.get("command_line") or "")
    return line_of(str(config["settings"].get("program", "train")), command)


def line_of(program: str, options: Mapping[str, Any], positional: Sequence[str] = ()) -> str:
    """``python -m atari_vlm.PROGRAM`` with positional words and options."""
    words = [
        *positional,
        *(word for name, value in options.items() for word in option_words(name, value)),
    ]
    return f"python -m atari_vlm.{program} {shlex.join(words)}".strip()


def resume_hint(config: Options, run: Path, error: BaseException | None = None) -> str:
    """How to go on: what a run may not say itself stands in the line, and a limit that is used up is raised."""
    marked = [
        item.name
        for item in dataclasses.fields(config)
        if has_to_be_typed(item, getattr(config, item.name))
    ]
    defaults, options = type(config)(), {"resume": str(run)}
    options |= {
        name: plain(value)
        for name in marked
        if not is_same(value := getattr(config, name), getattr(defaults, name))
    }
    limit = _LIMIT_OPTIONS.get(getattr(error, "kind", ""))
    if limit is not None:
        options[limit] = 2 * getattr(config, limit)
    return f"continue with: {line_of(config.program, options)}"


def _groups(kind: type[Any]) -> Iterator[type[Options]]:
    """The groups that a configuration is made of, in the order of its fields: what it names last comes first.

    A class that declares an option, besides what it inherits, is a group.
    """
    bases = [
        base
        for base in reversed(kind.__bases__)
        if issubclass(base, Options) and base is not Options
    ]
    inherited = {item.name for base in bases for item in dataclasses.fields(base)}
    if any(item.name not in inherited for item in dataclasses.fields(kind)):
        yield kind  # it declares options of its own: one group
        return
    for base in bases:
        yield from _groups(base)


def _title(group: type[Any]) -> str:
    return group.__name__.removesuffix("Options").lower()


def _field(
    kind: type[Options], group: type[Options], below: Mapping[str, Any]
) -> tuple[str, Any, Any]:
    """A group as a field of the form, filled with the program's defaults and with what lies below the command line.

    The form takes everything of the right type; what makes no sense is refused when the configuration is made of it.
    """
    unchecked = type(
        group.__name__, (group,), {"__post_init__": lambda self: None, "__doc__": group.__doc__}
    )
    values = {
        item.name: item.default if item.metadata.get("late") else getattr(kind(), item.name)
        for item in dataclasses.fields(group)
    }
    filled = unchecked(**{name: below.get(name, value) for name, value in values.items()})
    return (
        _title(group),
        cast(Any, tyro.conf.OmitArgPrefixes)[unchecked],
        dataclasses.field(default=filled),
    )


def _words(kind: type[Options], argv: Sequence[str]) -> list[str]:
    """The words, with ``none`` in any spelling where an option may be left open."""
    open_ones = {item.name for item in dataclasses.fields(kind) if "None" in str(item.type)}
    words: list[str] = []
    for word in argv:
        flag, equals, value = word.partition("=")
        last = words[-1] if words else ""
        if (
            word.startswith("--")
            and equals
            and value.lower() == "none"
            and _name(flag) in open_ones
        ):
            word = f"{flag}=None"
        elif word.lower() == "none" and last.startswith("--") and _name(last) in open_ones:
            word = "None"
        words.append(word)
    return words


def _alone(kind: type[Options], argv: Sequence[str]) -> list[str]:
    """The words, with its value behind an option that may stand ``alone`` where no number follows it."""
    values = {
        item.name: item.metadata["alone"]
        for item in dataclasses.fields(kind)
        if "alone" in item.metadata
    }
    words: list[str] = []
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        words.append(word)
        is_open = word.startswith("--") and _name(word) in values
        if is_open and following.lower() != "none" and not following.lstrip("+-").isdigit():
            words.append(values[_name(word)])
    return words


def _switched(kind: type[Options], argv: Sequence[str]) -> list[str]:
    """The words, with a switch whose value is written out (``--real_env True``) as the switch alone."""
    switches = {item.name for item in dataclasses.fields(kind) if str(item.type) == "bool"}
    words: list[str] = []
    for word in argv:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if not equals and words and words[-1].startswith("--"):
            flag = words[-1]
        if value.lower() in ("true", "false") and _name(flag) in switches:
            words = words if equals else words[:-1]
            word = flag if value.lower() == "true" else f"--no-{flag[2:]}"
        words.append(word)
    return words


def _name(flag: str) -> str:
    return flag[2:].replace("-", "_")


def _refuse_keys(words: Sequence[str]) -> None:
    for before, word in zip(["", *words], words, strict=False):
        flag, _, value = word.partition("=")
        option = (
            flag if word.startswith("--") else before if before.startswith("--") else "an argument"
        )
        if _name(option) != "api_key":
            refuse_keys({option: value if word.startswith("--") else word})
            refuse_keys({"an option's name": flag} if word.startswith("--") else {})

"""Whether a run may be continued with what is asked for now: which settings hold, which may change, and which may grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, RunError
from atari_vlm.settings import flat, is_same

PLACES = ("model", "world_model", "dream", "source", "demonstrations")  # settings that may be paths


@dataclass(frozen=True)
class ResumeRules:
    """Names are those of :func:`~atari_vlm.settings.flat`.

    ``free`` settings may differ from one start to the next. ``amounts`` say how much is played and may grow: a run that is
    named is then extended, and what it has stays as it is. ``defaults`` (settings of a run that nobody asked anything of) stand
    in for settings that did not exist when the run was made.
    """

    free: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


def continued(
    path: Path, config: Mapping[str, Any], settings: Mapping[str, Any], rules: ResumeRules
) -> tuple[dict[str, Any], bool]:
    """The config of the run at ``path`` with the ``parts`` it was asked for before, and whether it is extended now.

    ``RunError`` unless it was made with what is asked for now, or with less of it.
    """
    changed = differences(config, settings, rules)
    parts = earlier_parts(config, rules)
    if not changed:
        return {**config, "parts": parts}, False
    if is_extension(changed, rules):
        return {**config, "parts": [*parts, amounts_of(config["settings"], rules)]}, True
    named = "; ".join(f"{name} was {old!r}, is now {new!r}" for name, (old, new) in changed.items())
    raise RunError(
        f"the run {path} was made with other settings ({named}); leave them as they were, or start a new run"
    )


def differences(
    config: Mapping[str, Any], settings: Mapping[str, Any], rules: ResumeRules
) -> dict[str, Any]:
    """The settings that are not what they were, each as ``(old, new)``; ``config`` is the run's config.yaml.

    A relative path means what it meant where the run was started.
    """
    old, new, defaults = flat(config["settings"]), flat(settings), flat(rules.defaults)
    before = {
        name: old.get(name, defaults.get(name))
        for name in sorted(old | new)
        if name not in rules.free
    }
    now = {name: new.get(name, defaults.get(name)) for name in before}
    home = started_in(config)
    return {
        name: (old, now[name])
        for name, old in before.items()
        if not _is_same(home, name, old, now[name])
    }


def is_extension(changed: Mapping[str, tuple[Any, Any]], rules: ResumeRules) -> bool:
    """Whether nothing but amounts changed, and these grew."""
    return bool(changed) and all(
        name in rules.amounts and _grew(*values) for name, values in changed.items()
    )


def earlier_parts(config: Mapping[str, Any], rules: ResumeRules) -> list[dict[str, Any]]:
    """What a run that was extended had been asked for before, oldest first: amounts by name."""
    parts = config.get("parts", [])
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and {*part} <= {*rules.amounts} for part in parts
    ):
        raise ConfigError("the run's config.yaml does not say how much it was asked for (parts)")
    return [dict(part) for part in parts]


def amounts_of(settings: Mapping[str, Any], rules: ResumeRules) -> dict[str, Any]:
    """How much is played under some settings."""
    values = flat(settings)
    return {name: values[name] for name in rules.amounts if name in values}


def started_in(config: Mapping[str, Any]) -> Path:
    """The folder that a run's relative paths start from; of older runs the present one."""
    return Path(str(config.get("directory") or "."))


def _grew(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return all(item in new for item in old)
    return type(old) is type(new) is int and new > old


def _is_same(home: Path, name: str, old: Any, new: Any) -> bool:
    if name not in PLACES or not isinstance(old, str) or not isinstance(new, str):
        return is_same(old, new)
    before, now = (home / old).resolve(), Path(new).resolve()
    return before == now or (
        old == new and not before.exists() and not now.exists()
    )  # the id of a model

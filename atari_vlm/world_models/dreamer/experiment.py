"""Experiments of LLM Dreamer V3 in the words of SheepRL: ``algo.replay_ratio=1 env.id=CartPole-v1`` as options of ``dream``.

Every word that is understood is here; an unknown one is refused with the nearest name. Nothing is built.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from atari_vlm.errors import ConfigError, UnknownNameError, check_count, reading
from atari_vlm.registration import control_id
from atari_vlm.settings import check_names, flat
from atari_vlm.yaml_files import plain_yaml, read_yaml

NAME, PRESET = "llm_dreamer_v3", "source"
ENVS = ("gym", "dmc")
CONTROL_TASK = "cartpole_swingup_sparse"
HUB_MODEL = "state-spaces/mamba-130m-hf"
_WORLD = "algo.world_model"
_PEFT, _PRETRAINED = f"{_WORLD}.hf_model.peft", f"{_WORLD}.hf_model.from_pretrained"
_SETTINGS = {
    f"{_WORLD}.recurrent_model.recurrent_state_size": "networks.deter",
    f"{_WORLD}.recurrent_model.dense_units": "networks.core.sizes.width",
    f"{_WORLD}.transition_model.hidden_size": "networks.hidden",
    f"{_WORLD}.representation_model.hidden_size": "networks.posterior_hidden",
    f"{_WORLD}.hf_model.seq_len": "networks.core.seq_len",
    f"{_WORLD}.hf_model.layers": "networks.core.sizes.layers",
    "algo.replay_ratio": "learning.ratio",
    "algo.learning_starts": "learning.prefill",
    "algo.per_rank_batch_size": "learning.batch",
    "algo.per_rank_sequence_length": "learning.length",
    "env.num_envs": "play.envs",
    **{
        f"algo.{kind}_keys.{side}": f"networks.{kind}_keys.{side}"
        for kind in ("cnn", "mlp", "text")
        for side in ("encoder", "decoder")
    },
}
_OPTIONS = {
    "algo.total_steps": "--total-steps",
    "env.id": "--game",
    "seed": "--seed",
    "checkpoint.resume_from": "--resume",
    "run_name": "--run-name",
}
_DEVICES = {"cpu": "cpu", "cuda": "cuda", "gpu": "cuda", "mps": "mps"}
_PRECISIONS = {"32-true": "f32", "32": "f32", "bf16-mixed": "bf16"}
_OWN = {
    "exp",
    "dry_run",
    "env",
    _PEFT,
    _PRETRAINED,
    "fabric.accelerator",
    "fabric.devices",
    "fabric.precision",
}
KNOWN = {*_SETTINGS, *_OPTIONS, *_OWN}
_DEFAULTS = {
    "exp": NAME,
    "seed": 0,
    "dry_run": False,
    "run_name": None,
    "env": {"id": "CartPole-v1", "num_envs": 4},
    "fabric": {"accelerator": "cpu", "devices": 1, "precision": "32-true"},
    "checkpoint": {"resume_from": None},
}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """What a command line comes to: options of ``dream``, and texts that are kept in the run's folder, by file name."""

    arguments: list[str]
    files: Mapping[str, str] = field(default_factory=dict)


def experiment_of(words: Sequence[str]) -> Experiment:
    """The options of ``dream llm-dreamer-v3`` with words such as ``algo.replay_ratio=0.5`` among them as options too.

    Raises ``UnknownNameError`` for a key that is not known, ``ConfigError`` for a value that is none.
    """
    mine = _among(words)
    others, values = [word for word in words if word not in mine], _pairs(mine)
    if values.get("dry_run"):
        raise ConfigError(
            "dry_run=true is understood by examples/main.py, which prints the experiment"
        )
    return Experiment([*others, *options_of(_with_game(values), others)])


def _among(words: Sequence[str]) -> list[str]:
    """The ``a.b=value`` words, but for those that are an option's value."""
    settings = _settings_in(words)
    return [
        word
        for before, word in zip(("", *words), words, strict=False)
        if "=" in word
        and (
            word.partition("=")[0] in KNOWN
            or not (word.startswith("-") or before.startswith("-") or word in settings)
        )
    ]


def resolved(words: Iterable[str], folder: Path) -> dict[str, Any]:
    """The whole experiment: the two files below ``folder`` (``NAME.yaml`` and ``algo/llm_dreamer_S.yaml``), and above them the
    words of a command line, nested.

    Raises ``UnknownNameError`` for a key that is not known, ``ConfigError`` for an experiment that is none.
    """
    given = _pairs(words)
    experiment = read_yaml(folder / f"{NAME}.yaml")
    below = {"algo": read_yaml(folder / "algo" / "llm_dreamer_S.yaml")}
    values = {**flat(below), **flat(experiment), **given}
    check_names(values, KNOWN, f"key of {NAME}")
    return _nested({**flat(_DEFAULTS), **_with_game(values)})


def as_yaml(config: Mapping[str, Any]) -> str:
    """An experiment as YAML."""
    return yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None)


@contextmanager
def in_these_words() -> Iterator[None]:
    """Inside, the settings that a ``ConfigError`` names get the key behind them that an experiment has for each."""
    try:
        yield
    except ConfigError as error:
        told = str(error)
        for key, name in _SETTINGS.items():
            told = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.]*\w)", f"{name} ({key})", told)
        if told == str(error):
            raise
        raise ConfigError(told) from error


def command_of(config: Mapping[str, Any]) -> list[str]:
    """The options of ``dream llm-dreamer-v3`` that a resolved experiment comes to."""
    return ["--preset", PRESET, *options_of(flat(config))]


def options_of(values: Mapping[str, Any], others: Sequence[str] = ()) -> list[str]:
    """Options for flat keys; ``others`` are options that stand there already."""
    values = {name: value for name, value in values.items() if value is not None}
    words = [
        word
        for name, flag in _OPTIONS.items()
        if name in values
        for word in (flag, str(values[name]))
    ]
    for name, read in (("fabric.accelerator", _device), ("fabric.precision", _precision)):
        if name in values:
            words += read(values[name])
    if values.get("fabric.devices", 1) not in (1, "1", "auto"):
        raise ConfigError(
            "several devices are used under torchrun: torchrun --nproc-per-node=N -m atari_vlm.dream ..."
        )
    changes = {_SETTINGS[name]: value for name, value in values.items() if name in _SETTINGS}
    if "learning.batch" in changes:
        changes["learning.batch"] *= int(
            os.environ.get("WORLD_SIZE", 1)
        )  # per rank, as the key says
    if "algo.total_steps" in values:
        changes["play.steps"] = _epoch(values["algo.total_steps"], values.get("env.num_envs", 1))
    changes |= _language_model(values)
    settings = [f"{name}={_word(value)}" for name, value in changes.items()]
    if not settings:
        return words
    return [*words, "--settings", *_settings_in(others), *settings]


def _with_game(values: Mapping[str, Any]) -> dict[str, Any]:
    """``env`` says whose words ``env.id`` is in; from here on it is an id of gymnasium."""
    values = dict(values)
    env = values.pop("env", "gym")
    if env not in ENVS:
        raise UnknownNameError("env", env, ENVS)
    if env == "dmc":
        values["env.id"] = control_id(str(values.get("env.id", CONTROL_TASK)))
    return values


def _epoch(total_steps: Any, envs: Any) -> int:
    """Steps of an epoch: 1,000, or fewer where not so many are played, and as many in every game."""
    for name, value in (("algo.total_steps", total_steps), ("env.num_envs", envs)):
        check_count(**{name: value})
    return max(int(envs), min(1000, int(total_steps)) // int(envs) * int(envs))


def _settings_in(others: Sequence[str]) -> list[str]:
    """Words that stand behind another ``--settings``: the last one would hide them."""
    if "--settings" not in others:
        return []
    rest = list(others)[list(others).index("--settings") + 1 :]
    end = next((n for n, word in enumerate(rest) if word.startswith("--")), len(rest))
    return rest[:end]


def _language_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``from_pretrained`` and ``peft`` come to."""
    changes: dict[str, Any] = {}
    pretrained = values.get(_PRETRAINED, False)
    if pretrained:
        source = HUB_MODEL if pretrained is True else str(pretrained)
        changes |= {
            "networks.core.sizes.from_pretrained": source,
            "networks.language.tokenizer": source,
        }
    if values.get(_PEFT):
        changes["networks.core.lora.train_base"] = not pretrained
        if not pretrained:
            warnings.warn(
                f"{_PEFT} without {_PRETRAINED}: adapters on a base that nobody trained would learn little, so the base is "
                "trained too",
                stacklevel=2,
            )
    return changes


def _device(value: Any) -> list[str]:
    if value == "auto":
        return []
    if value not in _DEVICES:
        raise UnknownNameError("fabric.accelerator", value, [*_DEVICES, "auto"])
    return ["--device", _DEVICES[value]]


def _precision(value: Any) -> list[str]:
    if str(value) not in _PRECISIONS:
        raise UnknownNameError("fabric.precision", value, _PRECISIONS)
    return ["--precision", _PRECISIONS[str(value)]]


def _word(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def _pairs(words: Iterable[str]) -> dict[str, Any]:
    """``a.b=value`` words, values read as YAML; a value that is a group counts as its keys."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ConfigError(f"an experiment is changed by a.b.c=value, got {word!r}")
        with reading(name, ConfigError):
            read = plain_yaml(value)
        values |= flat({name: read}) if isinstance(read, Mapping) else {name: read}
    check_names(values, KNOWN, f"key of {NAME}")
    if values.get("exp", NAME) != NAME:
        raise UnknownNameError("experiment", values["exp"], [NAME])
    return values


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        group = nested
        for parent in parents:
            group = group.setdefault(parent, {})
        group[last] = value
    return nested

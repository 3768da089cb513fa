"""From an agent's spec to its entrant: which sort it is, the VLM that it asks within the study's limits, and its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.agents.planner_specs import check_planner, planner_names, worlds_of
from atari_vlm.agents.specs import AgentSpec, kind_of
from atari_vlm.agents.unasked import own_agent, own_kind, simple_agent
from atari_vlm.checker import check_agent
from atari_vlm.errors import ConfigError, ContractError, UnknownNameError
from atari_vlm.evaluation.askers import Asker, asker_entrant, key_of, sorted_options
from atari_vlm.evaluation.entrants import Entrant, Lessons
from atari_vlm.evaluation.planner_entrants import planner_entrant
from atari_vlm.evaluation.study import Study
from atari_vlm.own_classes import own_class
from atari_vlm.runs.options import pairs
from atari_vlm.spaces import Env
from atari_vlm.vlm.base import VLM, close_vlm
from atari_vlm.vlm.catalogue import OFFLINE_NAMES, TINY, entry
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.stack import Limits, limited
from atari_vlm.vlm.load import load_vlm
from atari_vlm.vlm.local.tiny.bundled import model_name

_CHECKED_STEPS = 4


@dataclass(frozen=True)
class Defaults:
    """What a study says of its agents: ``asking`` of all that ask a model, ``endpoint`` and ``key`` of the one that costs."""

    limits: Limits
    asking: Mapping[str, Any] = field(default_factory=dict)
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)


class Entry:
    """Makes the entrants of a study. What is opened for them is closed with ``opened``; a VLM is loaded once per agent.

    ``loaded`` is called with every VLM before it is asked.
    """

    def __init__(
        self,
        defaults: Defaults,
        budget: Budget,
        opened: ExitStack,
        loaded: Callable[[VLM], object] = lambda vlm: None,
    ):
        self._defaults, self._budget, self._opened = defaults, budget, opened
        self._loaded = loaded
        self._vlms: dict[str, VLM] = {}

    def entrant(self, spec: AgentSpec) -> Entrant:
        """The entrant of a spec. Raises ``ConfigError`` (or its kin) for what cannot play, before anything is asked."""
        sorts: dict[str, Callable[[AgentSpec], Entrant]] = {
            "simple": _simple,
            "vlm": self._asker,
            "planner": self._planner,
            "own": self._own,
        }
        return sorts[spec.kind](spec)

    def _asker(self, spec: AgentSpec) -> Entrant:
        asker = sorted_options(spec, spec.name, self._defaults.asking)
        vlm, facts = self._vlm(spec, spec.name, asker)
        return asker_entrant(spec, asker, vlm, **facts)

    def _planner(self, spec: AgentSpec) -> Entrant:
        asked = planner_asker(spec, self._defaults.asking)
        if asked is None:
            return planner_entrant(spec)
        name, asker = asked
        vlm, facts = self._vlm(spec, name, asker)
        if spec.planner[0] == "plan":
            return asker_entrant(spec, asker, vlm, worlds_of(spec), **facts)
        return planner_entrant(spec, asker, vlm, **facts)

    def _own(self, spec: AgentSpec) -> Entrant:
        kind = own_kind(spec)
        if hasattr(kind, "complete"):
            return self._asker(spec)
        return Entrant(spec, lambda vlm, env, shown: own_agent(spec, kind, env), model="")

    def _vlm(self, spec: AgentSpec, name: str, asker: Asker) -> tuple[VLM, dict[str, Any]]:
        """The VLM of an agent within the study's limits, and what tables say of it."""
        paid = name not in OFFLINE_NAMES
        endpoint = {**(self._defaults.endpoint if paid else {}), **asker.endpoint}
        key = key_of(endpoint) or (self._defaults.key if paid else None)
        if spec.label not in self._vlms:
            given = {k: v for k, v in endpoint.items() if k != "api_key_env"}
            more = {**given.pop("vlm_options", {}), **asker.model}
            self._vlms[spec.label] = self._load(name, key, {**given, **more}, paid)
        vlm = self._vlms[spec.label]
        facts = {
            "model": str(endpoint.get("model") or _model_of(name, vlm, endpoint)),
            "base_url": str(endpoint.get("base_url") or ""),
            "is_paid": paid,
        }
        return vlm, facts

    def _load(self, name: str, key: str | None, options: Mapping[str, Any], paid: bool) -> VLM:
        backend = load_vlm(name, **{**({"api_key": key} if key else {}), **options})
        self._opened.callback(close_vlm, backend)
        self._loaded(backend)
        if not paid:
            return backend
        vlm = limited(backend, self._defaults.limits, api_key=key, budget=self._budget)
        self._opened.callback(vlm.close)
        return vlm


def defaults_of(study: Study) -> Defaults:
    """What a study says of its agents."""
    config = study.config
    endpoint: dict[str, Any] = {"timeout_s": config.timeout_s}
    for name in ("model", "adapter", "base_url"):
        if getattr(config, name) is not None:
            endpoint[name] = getattr(config, name)
    if config.vlm_option:
        endpoint["vlm_options"] = pairs(config.vlm_option, "--vlm-option")
    return Defaults(config, study.asking, endpoint, config.key())


def lessons_of_spec(spec: AgentSpec, asking: Mapping[str, Any]) -> Lessons | None:
    """What an agent is shown before it is evaluated, from its options alone: no model is loaded."""
    if spec.kind == "vlm" or (spec.kind == "own" and hasattr(own_kind(spec), "complete")):
        return sorted_options(spec, spec.name, asking).asking.lessons
    if spec.kind == "planner" and spec.planner[0] == "plan":
        asked = planner_asker(spec, asking)
        return None if asked is None else asked[1].asking.lessons
    return None


def planner_asker(spec: AgentSpec, asking: Mapping[str, Any]) -> tuple[str, Asker] | None:
    """The VLM that a planner asks, by name, and how; ``None``: it asks nobody."""
    planner, _ = spec.planner
    named = spec.options.get("vlm")
    if planner == "plan":
        named = named or "scripted"
    if planner == "policy" or named is None:
        check_planner(spec)
        return None
    if not isinstance(named, str) or kind_of(named) not in ("vlm", "own"):
        raise UnknownNameError(f"VLM of the agent {spec.label!r}", named, OFFLINE_NAMES)
    own = planner_names(planner)
    if planner == "plan":
        spec_of_plans = AgentSpec(spec.label, spec.name, {**spec.options, "plan": True})
        return named, sorted_options(spec_of_plans, named, asking, own)
    options = {name: v for name, v in spec.options.items() if name not in own}
    return named, sorted_options(AgentSpec(spec.label, spec.name, options), named, asking)


def _model_of(name: str, vlm: VLM, endpoint: Mapping[str, Any]) -> str:
    if name == TINY:
        return model_name(endpoint)
    return vlm.name if name in OFFLINE_NAMES or ":" in name else entry(name).model


def _simple(spec: AgentSpec) -> Entrant:
    alone = simple_agent(spec)
    return Entrant(spec, lambda vlm, env, shown: alone(env))


def check_contract(spec: AgentSpec, env: Env) -> None:
    """Raise ``ConfigError`` with what :func:`~atari_vlm.checker.check_agent` finds wrong with a class of the user's own."""
    kind = own_class(spec.name, "agent")
    try:
        check_agent(lambda: own_agent(spec, kind, env), env, steps=_CHECKED_STEPS)
    except ContractError as error:
        raise ConfigError(f"{spec.name} breaks the contract of agents: {error}") from error
    except ConfigError:
        raise
    except Exception as error:
        trace = inspect.trace()[-1]
        where = f"{trace.filename.rpartition('/')[2]}, line {trace.lineno}"
        raise ConfigError(
            f"{spec.name} cannot play: {type(error).__name__}: {error} ({where})"
        ) from error

"""Agents that ask a VLM, from their spec: every option that ``train`` has, under the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from atari_vlm._lazy import load
from atari_vlm.agents.action_buffer import ActionBuffer
from atari_vlm.agents.base import Agent
from atari_vlm.agents.in_context.demonstrations import Demonstration
from atari_vlm.agents.in_context.examples import (
    InContextOptions,
    agent_with_examples,
    example_messages,
    select,
)
from atari_vlm.agents.plan_judge import PlanOptions
from atari_vlm.agents.reading_agent import ReadingAgent
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.agents.world_model_agent import WorldModelAgent
from atari_vlm.agents.worlds import Worlds
from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.evaluation.entrants import Entrant, Lessons
from atari_vlm.own_classes import is_own, own_class, takes
from atari_vlm.prompts import check_style
from atari_vlm.runs.learning_options import LearningOptions
from atari_vlm.runs.options import EndpointOptions, KeyOptions, names_of
from atari_vlm.settings import from_plain, plain
from atari_vlm.spaces import Env
from atari_vlm.types import Message
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.catalogue import OFFLINE_NAMES, TINY, entry
from atari_vlm.vlm.local.tiny.bundled import ways
from atari_vlm.wrappers.latency_models import latency_model

Reading = Literal["picture", "reading", "objects", "objects-only"]
TRAINING_EPISODES = 6
PLAYERS = ("scripted", "random")  # who may play the training episodes of another agent
AGENT_NAMES = tuple(
    item.name for item in dataclasses.fields(PlanOptions) if item.name != "max_tokens"
)
_ONE_ACTION_NAMES = {item.name for item in dataclasses.fields(VLMAgentOptions)}
_ENDPOINT = (*names_of(EndpointOptions), "api_key_env")
_OPTIONS_OF = {
    "remote": "atari_vlm.vlm.remote.options:RemoteOptions",
    "local": "atari_vlm.vlm.local.options:LocalOptions",
}


@dataclass(frozen=True)
class AskerOptions(LearningOptions):
    """What an agent that asks a VLM is told besides the fields of ``VLMAgentOptions`` and the settings of its model.

    ``num_episodes`` training episodes (by default 6, none with a data set) in rounds of ``round_size``; ``demonstrations`` is a
    Minari id (``{game}`` in it is the game's name) or ``scripted`` or ``random``: who plays those episodes instead. ``text``:
    the model is shown the ``picture``; picture and its own ``reading``; picture and true ``objects`` (from the console's
    memory: privileged); ``objects-only``. ``latency`` (seconds, ``measured``, or a latency model; ``real_time`` is
    ``measured``): the game goes on while a reply is awaited. ``plan``: it proposes plans, which are followed.
    """

    prompt_type: str = "cot"
    reply_tokens: int = 512
    num_episodes: int | None = None
    round_size: int = 4
    text: Reading = "picture"
    latency: float | str | Mapping[str, Any] | None = None
    real_time: bool = False
    plan: bool = False
    plan_horizon: int = 5
    num_plans: int = 3
    use_action_buffer: bool = True
    action_buffer_size: int = 10
    action_buffer_threshold: float = 0.0

    def __post_init__(self) -> None:
        check_style(self.prompt_type)
        check_positive(
            round_size=self.round_size, num_plans=self.num_plans, plan_horizon=self.plan_horizon
        )
        if self.num_episodes is not None and (self.num_episodes < 0 or not self.use_icl):
            raise ConfigError(
                "num_episodes is a number of training episodes, and needs use_icl=true"
            )
        if self.icl_ablation:
            raise ConfigError("icl_ablation is of train; a study has --ablate icl")
        if self.real_time and self.latency is not None:
            raise ConfigError("give latency or real_time, not both")
        if self.waiting not in (None, "measured"):
            latency_model(self.waiting)
        super().__post_init__()

    @property
    def waiting(self) -> Any:
        """What :class:`LatencyAware` is told; ``None``: time stands still."""
        return "measured" if self.real_time else self.latency

    @property
    def in_context(self) -> InContextOptions:
        """Which examples are shown."""
        return InContextOptions(
            strategy=self.icl_strategy if self.use_icl else "none",
            max_examples=self.icl_examples,
            max_images=self.icl_images,
            max_tokens=self.icl_tokens,
        )

    @property
    def lessons(self) -> Lessons | None:
        """What is learned before the evaluation."""
        if not self.use_icl:
            return None
        source = self.demonstrations or ""
        player = source if source in PLAYERS else ""
        dataset = "" if player else source
        default = 0 if dataset else TRAINING_EPISODES
        episodes = default if self.num_episodes is None else self.num_episodes
        return Lessons(self.in_context, episodes, self.round_size, player, dataset)


@dataclass(frozen=True)
class Asker:
    """An agent's options, sorted: ``asking``, ``agent`` (of the agent itself), ``endpoint`` and ``model`` (of its VLM)."""

    asking: AskerOptions
    agent: PlanOptions
    endpoint: Mapping[str, Any]
    model: Mapping[str, Any]


def sorted_options(
    spec: AgentSpec, vlm: str, defaults: Mapping[str, Any], more: Sequence[str] = ()
) -> Asker:
    """The options of an agent over VLM ``vlm``, checked; ``defaults`` stand where the spec says nothing.

    ``more`` are names that somebody else reads. ``UnknownNameError`` names an unknown option and the nearest.
    """
    asking_names = names_of(AskerOptions)
    others = _model_names(vlm, spec.options)
    known = {*asking_names, *AGENT_NAMES, *_ENDPOINT, *(others or ()), *more}
    what = f"the agent {spec.label!r}"
    for name in spec.options:
        if name in ("max_tokens", "max_calls", "budget_usd") and name not in (others or ()):
            raise ConfigError(
                f"{what}: {name} is a limit of the whole study (--{name.replace('_', '-')}); the longest reply is reply_tokens"
            )
        if others is not None and name not in known:
            raise UnknownNameError(f"option of {what}", name, known)
    given = {**ways(vlm, spec.options), **defaults, **spec.options}
    own = (
        set(others or ()) if is_own(vlm) else set()
    )  # what a class of the user's own takes goes to it first
    asking = {k: v for k, v in given.items() if k in asking_names and k not in own}
    agent = {k: v for k, v in given.items() if k in AGENT_NAMES and k not in own}
    options = from_plain(AskerOptions, asking, what)
    if not options.plan and (only := [n for n in agent if n not in _ONE_ACTION_NAMES]):
        raise ConfigError(f"{what}: {only[0]} is of plans; give plan=true, or plan@MODEL")
    if options.plan and agent.get("decide_every", 1) != 1:
        raise ConfigError(f"{what}: plans are followed as follow says; leave out decide_every")
    if options.plan and options.text == "reading":
        raise ConfigError(f"{what}: text=reading goes with single actions, not with plans")
    if options.text == "objects-only":
        agent["frames"] = 0
    agent["max_tokens"] = options.reply_tokens
    endpoint = {k: v for k, v in given.items() if k in _ENDPOINT and k not in own}
    taken = {*asking, *agent, *endpoint, *more}
    rest = {k: v for k, v in given.items() if k in own or k not in taken}
    return Asker(options, from_plain(PlanOptions, agent, what), endpoint, rest)


def _model_names(vlm: str, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The settings that the model itself takes; ``None`` when it takes any."""
    if is_own(vlm):
        return takes(own_class(vlm, "agent"))
    if vlm in OFFLINE_NAMES:
        return ()
    served = entry(vlm).kind == "api" or options.get("base_url")
    kind = load(_OPTIONS_OF["remote" if served else "local"])
    names = [item.name for item in dataclasses.fields(kind) if item.name not in ("clock",)]
    return (*names, "backend") if vlm == TINY else tuple(names)


def key_of(endpoint: Mapping[str, Any]) -> str | None:
    """The key that ``api_key_env`` names."""
    return KeyOptions(api_key_env=endpoint.get("api_key_env")).key()


def asker_entrant(
    spec: AgentSpec, asker: Asker, vlm: VLM, worlds: Worlds | None = None, **facts: Any
) -> Entrant:
    """The entrant of an agent that asks ``vlm``; with ``worlds`` its plans are judged by a world model."""

    def make(journalled: VLM, env: Env, shown: Sequence[Demonstration]) -> Agent:
        if asker.asking.plan:
            return _planning(asker, journalled, env, shown, worlds)
        agent = agent_with_examples(journalled, shown, asker.asking.in_context, single)
        return ReadingAgent(agent, journalled) if asker.asking.text == "reading" else agent

    def single(asked: VLM, examples: tuple[Message, ...]) -> VLMAgent:
        options = VLMAgentOptions(
            **{name: getattr(asker.agent, name) for name in _ONE_ACTION_NAMES}
        )
        return VLMAgent(
            asked, prompt_type=asker.asking.prompt_type, examples=examples, options=options
        )

    privileged = asker.asking.text in ("objects", "objects-only")
    scene: dict[str, Any] = {"objects": True} if privileged else {}
    if asker.asking.waiting is not None:
        scene["latency"] = plain(asker.asking.waiting)
    said = "is told where the objects are, from the console's memory: privileged"
    return Entrant(
        spec,
        make,
        vlm,
        scene=scene,
        lessons=asker.asking.lessons,
        notes=(f"{spec.label} {said}",) if privileged else (),
        **facts,
    )


def _planning(
    asker: Asker, vlm: VLM, env: Env, shown: Sequence[Demonstration], worlds: Worlds | None
) -> Agent:
    asking = asker.asking
    buffer = (
        ActionBuffer(asking.action_buffer_size, asking.action_buffer_threshold)
        if asking.use_action_buffer
        else None
    )
    return WorldModelAgent(
        vlm,
        world_model=None if worlds is None else worlds.model(env),
        plan_horizon=asking.plan_horizon,
        num_plans=asking.num_plans,
        action_buffer=buffer,
        options=asker.agent,
        frame_source=None if worlds is None else worlds.frame_source(env),
        prompt_type=asking.prompt_type,
        examples=example_messages(select(shown, asking.in_context)),
    )

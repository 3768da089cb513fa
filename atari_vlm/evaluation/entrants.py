"""The agents of a study, ready to play: what they ask, how they are made for an episode, and what they need to know before.

One :class:`Entrant` per agent (and per condition of an ablation); how each sort is put together stands in
:mod:`atari_vlm.evaluation.askers`, :mod:`atari_vlm.evaluation.planner_entrants` and
:mod:`atari_vlm.evaluation.own_entrants`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.agents.base import Agent
from atari_vlm.agents.in_context.demonstrations import Demonstration
from atari_vlm.agents.in_context.examples import InContextOptions
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.spaces import Env
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.nobody import NoVLM

Make = Callable[[VLM, Env, Sequence[Demonstration]], Agent]


@dataclass(frozen=True)
class Lessons:
    """What an agent is shown before it is evaluated: examples from a data set, or from training episodes of the study.

    ``episodes`` training episodes are played in rounds of ``round_size``, by the agent itself or by ``player`` (the name of an
    offline agent); then nothing more is learned. ``dataset`` is a Minari id, in which ``{game}`` is the game's name.
    """

    in_context: InContextOptions
    episodes: int = 0
    round_size: int = 4
    player: str = ""
    dataset: str = ""


@dataclass(frozen=True)
class Entrant:
    """An agent of a study.

    ``vlm`` is whom it asks, ``None`` nobody. ``make(vlm, env, shown)`` makes a fresh agent for an episode, over the VLM that
    journals its calls, with examples of the demonstrations ``shown``. ``model`` and ``base_url`` are what was asked for.
    ``scene`` is what its environment has besides the protocol's (``latency``, ``objects``). ``is_paid``: a call may cost
    something.
    """

    spec: AgentSpec
    make: Make
    vlm: VLM | None = None
    model: str = ""
    base_url: str = ""
    scene: Mapping[str, Any] = field(default_factory=dict)
    lessons: Lessons | None = None
    is_paid: bool = False
    notes: tuple[str, ...] = ()

    @property
    def asked(self) -> VLM:
        """The VLM to journal."""
        return NoVLM() if self.vlm is None else self.vlm

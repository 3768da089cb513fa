"""The agents of a bundle made anew, over a model that says what the bundle says that it said.

Which of a reply's words are the action, what is done between two questions, when a plan is followed or given up, what is
played instead of an answer that cannot be read: all of it is decided by the very code that played. Not made anew are agents
of somebody's own code, searches (they take as long as the study did) and what a checkpoint judges; of the plans that such a
model judged, the first actions are held against what the reply is read as.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atari_vlm.agents.base import Agent
from atari_vlm.agents.make import make_agent
from atari_vlm.agents.planner_specs import worlds_of
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.agents.worlds import NAMED
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.askers import (
    AGENT_NAMES,
    Asker,
    AskerOptions,
    asker_entrant,
    sorted_options,
)
from atari_vlm.evaluation.board.bundle import Refused, Said, request_sha256
from atari_vlm.evaluation.board.claims import ClaimedStudy
from atari_vlm.evaluation.playing import paced
from atari_vlm.runs.journal_vlm import encode_request
from atari_vlm.runs.learning_options import LearningOptions
from atari_vlm.runs.options import names_of
from atari_vlm.spaces import Env
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Capability, Sampling
from atari_vlm.vlm.nobody import NoVLM

ASKED_AGAIN = (
    "scripted",
    "nearest-example",
)  # offline players whose answer depends on the question alone
_LESSONS = (*names_of(LearningOptions), "num_episodes", "round_size")
_READ = {*names_of(AskerOptions), *AGENT_NAMES} - {*_LESSONS}


@dataclass(frozen=True)
class Player:
    """How the episodes of an agent are judged.

    ``make`` makes the agent anew, over the model that tells the bundle's replies; ``None``: it cannot be, ``why``. ``scene``
    is what its environment has besides the protocol's. ``taught``: examples that are not in the bundle stood in its questions.
    ``plans`` (how many, how long): plans that a checkpoint judged.
    """

    make: Callable[[VLM, Env], Agent] | None = None
    why: str = ""
    scene: Mapping[str, Any] = field(default_factory=dict)
    taught: bool = False
    plans: tuple[int, int] | None = None


def player(study: ClaimedStudy, spec: AgentSpec, answer: str | None, *, replied: bool) -> Player:
    """The player of a spec; ``answer`` is the form in which its model was asked, ``replied`` whether it asked any.

    Raises ``ConfigError`` for options that the agent has not.
    """
    if spec.kind == "simple":
        return Player(
            lambda vlm, env: paced(study, make_agent(spec.name, action_space=env.action_space), env)
        )
    if spec.kind == "planner" and spec.planner[0] != "plan":
        return Player(why="searches and trained policies are not made anew")
    if spec.kind == "own" and not replied:
        return Player(why="its code is not in the bundle")
    asker = _asker(study, spec, answer)
    taught = bool(spec.options.get("use_icl", False))
    if spec.kind == "planner" and spec.planner[1] not in NAMED:
        scene = asker_entrant(spec, asker, NoVLM()).scene
        asked = (asker.asking.num_plans, asker.asking.plan_horizon)
        why = "the model that judged its plans is not in the bundle"
        return Player(why=why, scene=scene, taught=taught, plans=asked)
    worlds = worlds_of(spec) if spec.kind == "planner" else None
    entrant = asker_entrant(spec, asker, NoVLM(), worlds)
    return Player(
        lambda vlm, env: paced(study, entrant.make(vlm, env, ()), env),
        scene=entrant.scene,
        taught=taught,
    )


def _asker(study: ClaimedStudy, spec: AgentSpec, answer: str | None) -> Asker:
    """The options of an agent that asks, without what belongs to its model and its lessons."""
    kept = {name: value for name, value in spec.options.items() if name in _READ}
    if spec.kind == "planner":
        kept["plan"] = True
    elif answer is not None:
        kept["answer"] = answer
    return sorted_options(AgentSpec(spec.label, "scripted", kept), "scripted", study.asking)


@dataclass(frozen=True)
class Questions:
    """What is done with the questions that come up anew: ``compared`` with what the bundle asked, and asked ``again``."""

    compared: bool = False
    prompts: frozenset[str] = frozenset()
    again: VLM | None = None


class BundleVLM:
    """The model of one episode: it says what the bundle holds, in order; :class:`Refused` where a question is not the bundle's.

    Whoever plays sets :attr:`step`, and calls :meth:`check_said` after the step's decision.
    """

    name = "bundle"

    def __init__(self, replies: Sequence[Said], questions: Questions, *, scores: bool = False):
        self._replies, self._questions = replies, questions
        self.step = self._next = 0
        self._doubt: Refused | None = None
        known = {"scores"} if scores or any(said.scores is not None for said in replies) else set()
        own: frozenset[Capability] = frozenset(known)  # type: ignore[arg-type]
        again = questions.again
        self.capabilities = own if again is None else again.capabilities

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """The next reply."""
        said = self._take(messages)
        if said.scores is not None:
            raise self._refusal("a reply is asked for, and the bundle holds scores")
        if self._questions.again is not None:
            reply = self._questions.again.complete(messages, sampling=sampling)
            if (reply.text, reply.model) != (said.reply.text, said.reply.model):
                words = f"the reply is not the one that {reply.model} gives to this question"
                self._doubt = self._doubt or self._refusal(words)
        return said.reply

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """The next scores, float64 ``(n,)``."""
        said = self._take(messages)
        if said.scores is None:
            raise self._refusal("scores are asked for, and the bundle holds a reply")
        return np.array(said.scores, np.float64)

    def check_said(self) -> None:
        """Every reply of the step was asked for, and none is another than was given."""
        if self._doubt is not None:
            raise self._doubt
        if self._next < len(self._replies) and self._replies[self._next].step <= self.step:
            raise self._refusal("the bundle holds a reply that the agent does not ask for")

    def _take(self, messages: Sequence[Message]) -> Said:
        if self._next == len(self._replies) or self._replies[self._next].step != self.step:
            raise self._refusal("the agent asks its model, and the bundle holds no reply")
        said = self._replies[self._next]
        self._next += 1
        if self._questions.compared:
            self._compare(said, messages)
        return said

    def _compare(self, said: Said, messages: Sequence[Message]) -> None:
        request, _ = encode_request(messages)
        if request_sha256(request) != said.request_sha256:
            raise self._refusal(
                "the question is not the one that these conditions and actions lead to (request_sha256)"
            )
        if not prompt_hashes(request) <= self._questions.prompts:
            raise self._refusal("its instructions are not among the prompts of the bundle")

    def _refusal(self, reason: str) -> Refused:
        return Refused(f"step {self.step}: {reason}")


def prompt_hashes(request: Sequence[Any]) -> set[str]:
    """SHA-256 of the instructions (what the system says) in a question as the journal holds it."""
    return {
        sha for role, parts in request if role == "system" for kind, sha in parts if kind == "text"
    }


def check_answer(answer: Any) -> None:
    """Raise ``ConfigError`` for what is no form of asking."""
    if answer not in (None, "json", "choice", "scores", "text"):
        raise ConfigError(f"answer of an agent is json, choice, scores or text, got {answer!r:.40}")

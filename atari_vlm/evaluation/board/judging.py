"""A bundle held against the game: every episode played again from its actions, every claim recomputed from what comes out.

A bundle is refused for the first thing that is not equal, with the reason. What it says of tokens, dollars and addresses
nobody can recompute; it is shown as said.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.errors import AtariVLMError, one_line
from atari_vlm.evaluation.board.bundle import (
    MOST_STEPS,
    Bundle,
    Refused,
    Submission,
    Told,
    read_bundle,
)
from atari_vlm.evaluation.board.claims import (
    ClaimedStudy,
    check_claims,
    claimed,
    our_versions,
)
from atari_vlm.evaluation.board.players import (
    ASKED_AGAIN,
    BundleVLM,
    Player,
    Questions,
    check_answer,
    player,
)
from atari_vlm.evaluation.board.probing import picture_probe
from atari_vlm.evaluation.board.retelling import Retold, check_actions, equal, first_actions
from atari_vlm.evaluation.board.rows import Played, check_rows
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import GameSpec, is_atari
from atari_vlm.runs.rollout import play_episode
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.settings import plain
from atari_vlm.spaces import Env
from atari_vlm.vlm.load import load_vlm


@dataclass(frozen=True)
class Verdict:
    """An accepted bundle: its protocol, the rows of its results, and what could be held against what (``checked``, in words)."""

    protocol: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    steps: int
    checked: tuple[str, ...] = field(default=())


def judge(folder: Path, trusted: Collection[str] = ()) -> Verdict:
    """The verdict on a bundle; :class:`Refused`, whatever is wrong with it. Modules are imported only where ``trusted``."""
    try:
        return _judge(read_bundle(folder), trusted)
    except Refused:
        raise
    except AtariVLMError as error:
        raise Refused(one_line(error)) from error
    except Exception as error:
        raise Refused(f"it cannot be judged: {type(error).__name__}: {one_line(error)}") from error


def _judge(bundle: Bundle, trusted: Collection[str]) -> Verdict:
    submission = bundle.submission
    study = claimed(submission.config, trusted)
    check_claims(study, submission)
    replied = _check_episodes(study, bundle)
    with ExitStack() as opened:
        court = Court.of(study, submission, replied, opened)
        played = [court.play(told) for told in bundle.episodes()]
    check_rows(study, submission, played, taught=court.taught)
    steps = sum(each.length for each in played)
    rows = tuple(dict(row) for row in submission.results)
    return Verdict(submission.protocol, rows, steps, tuple(court.words()))


def _check_episodes(study: ClaimedStudy, bundle: Bundle) -> set[str]:
    """Every episode of the configuration once, and none besides; the labels of the agents that have replies."""
    wanted, found = set(study.keys), set()
    steps, replied = 0, set()
    for told in bundle.episodes():
        if told.key in found:
            raise Refused(f"the episode {told.title} is there twice")
        if told.key not in wanted:
            raise Refused(f"the episode {told.title} is none of its config")
        if told.env_seed != eval_seed(told.seed, told.episode):
            raise Refused(
                f"{told.title}: env_seed is {told.env_seed}, and of this episode {eval_seed(told.seed, told.episode)}"
            )
        found.add(told.key)
        steps += told.length
        if steps > MOST_STEPS:
            raise Refused(f"it has more than {MOST_STEPS:,} steps")
        if told.replies:
            replied.add(told.agent)
    if missing := [key for key in study.keys if key not in found]:
        game, agent, seed, number = missing[0]
        raise Refused(
            f"{len(missing)} of its {len(wanted)} episodes are missing, first {game}, {agent}, seed {seed}, episode {number}"
        )
    return replied


@dataclass(frozen=True)
class Court:
    """What the episodes of a bundle are judged with."""

    study: ClaimedStudy
    games: Mapping[str, GameSpec]
    specs: Mapping[str, AgentSpec]
    players: Mapping[str, Player]
    questions: Mapping[str, Questions]
    why_not_compared: str
    opened: ExitStack
    envs: dict[str, Env] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        study: ClaimedStudy,
        submission: Submission,
        replied: Collection[str],
        opened: ExitStack,
    ) -> Court:
        """Made before anything is played; what stays open is closed with ``opened``."""
        specs = {spec.label: spec for spec in study.agents}
        players, answers = {}, {}
        for entry in submission.agents:
            label, answer = str(entry["agent"]), entry.get("answer")
            check_answer(answer)
            answers[label] = answer
            players[label] = player(study, specs[label], answer, replied=label in replied)
        games = {game.name: game for game in study.games}
        why = _why_not_compared(study, submission)
        prompts = frozenset(submission.prompts)
        questions = {
            label: _questions(specs[label], players[label], answers[label], prompts, why)
            for label in specs
        }
        return cls(study, games, specs, players, questions, why, opened)

    @property
    def taught(self) -> set[str]:
        """The agents whose training episodes, which are not in the bundle, count in their rows too."""
        return {label for label, found in self.players.items() if found.taught}

    def play(self, told: Told) -> Played:
        """Play an episode again; :class:`Refused` for the first difference."""
        found = self.players[told.agent]
        env = self._env(told.game, found)
        try:
            vlm = BundleVLM(
                told.replies, self.questions[told.agent], scores=self._scores(told.agent)
            )
            inner = None if found.make is None else found.make(vlm, env)
            agent = Retold(told, vlm, inner, first_actions(env, found.plans))
            check_actions(env, told)
            trajectory = play_episode(
                env, agent, seed=told.env_seed, max_steps=self.study.protocol.max_steps
            )
        except Refused as refused:
            raise Refused(f"{told.title}, {refused}") from refused
        last = trajectory.transitions[-1]
        came = (trajectory.length, last.terminated, last.truncated and not last.terminated)
        _check_end(told, came, trajectory.episode_return)
        unknown = inner is None and told.sources is None
        return Played.of(told, None if unknown else agent.fallbacks)

    def words(self) -> Iterator[str]:
        """What was held against what, for whoever reads the board."""
        for label, found in self.players.items():
            asked = self.questions[label]
            if found.make is None:
                yield f"{label}: actions and rewards played again; its decisions are taken as said ({found.why})"
            elif self.specs[label].kind == "simple":
                yield f"{label}: played and decided anew"
            elif asked.again is not None:
                yield f"{label}: played, decided and asked anew"
            elif asked.compared:
                yield f"{label}: played and decided anew from its replies; its questions are the harness's"
            else:
                why = "examples stood in them" if found.taught else self.why_not_compared
                why = why or "the form of its answers is not told"
                yield f"{label}: played and decided anew from its replies; its questions are taken as said ({why})"

    def _env(self, game: str, found: Player) -> Env:
        """A game; one of ALE's, which takes long to make and is begun anew by its seed, is made once."""
        settings = self.study.environment(self.games[game], found.scene)
        key = json.dumps(plain(settings), sort_keys=True)
        if key not in self.envs:
            env = make_env(settings)
            self.opened.callback(env.close)
            if not is_atari(game):
                return env
            self.envs[key] = env
        return self.envs[key]

    def _scores(self, label: str) -> bool:
        options = {**self.study.asking, **self.specs[label].options}
        return options.get("answer") == "scores"


def _why_not_compared(study: ClaimedStudy, submission: Submission) -> str:
    """Why questions cannot come out equal here though all is well; empty where they must."""
    said, ours = submission.versions.get("atari_vlm"), our_versions()["atari_vlm"]
    if said != ours:
        return f"asked by atari_vlm {said}, this is {ours}"
    if submission.picture_probe is None:
        return "the bundle holds no picture_probe"
    if submission.picture_probe != picture_probe(study):
        return "pictures come out otherwise on this machine"
    return ""


def _questions(
    spec: AgentSpec, found: Player, answer: str | None, prompts: frozenset[str], why: str
) -> Questions:
    plans = spec.kind == "planner" or bool(spec.options.get("plan"))
    if found.make is None or found.taught or why or not (answer or plans):
        return Questions()
    asked = spec.options.get("vlm", "scripted") if spec.kind == "planner" else spec.name
    again = load_vlm(str(asked)) if asked in ASKED_AGAIN else None
    return Questions(compared=True, prompts=prompts, again=again)


def _check_end(told: Told, came: tuple[int, bool, bool], episode_return: float) -> None:
    said = (told.length, told.terminated, told.truncated)
    for name, ours, theirs in zip(("length", "terminated", "truncated"), came, said, strict=True):
        if ours != theirs:
            raise Refused(f"{told.title}: {name} is {theirs} in the bundle, and comes out {ours}")
    if not equal(episode_return, told.episode_return):
        raise Refused(
            f"{told.title}: return is {told.episode_return:g} in the bundle, and comes out {episode_return:g}"
        )

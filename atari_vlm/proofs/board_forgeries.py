"""Twenty ways to forge a bundle, two of each kind; the manifest is made again after each, as a forger would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm.evaluation.board.bundle import EPISODES, MANIFEST, SUBMISSION, manifest_of

Entry = dict[str, Any]
_RIGHT = json.dumps({"reasoning": "I know better.", "action": "RIGHT"})


@dataclass
class Open:
    """A bundle's content as plain data, to be changed at will."""

    submission: Entry
    episodes: list[Entry]

    @property
    def asked(self) -> Entry:
        """The first episode of an agent that asks a model."""
        return next(episode for episode in self.episodes if episode["replies"])

    @property
    def silent(self) -> Entry:
        """The first episode of an agent that asks nobody."""
        return next(episode for episode in self.episodes if not episode["replies"])

    def row(self, episode: Entry) -> Entry:
        """The row of results that an episode counts in."""
        names = ("game", "agent", "seed")
        rows = self.submission["results"]
        return next(row for row in rows if all(row[n] == episode[n] for n in names))


@dataclass(frozen=True)
class Forgery:
    """What is done to a bundle, and words that the reason of its refusal holds."""

    kind: str
    name: str
    change: Callable[[Open], None]
    reason: str


def forge(honest: Path, forgery: Forgery, out: Path) -> Path:
    """A copy of a bundle, forged."""
    shutil.copytree(honest, out)
    lines = (out / EPISODES).read_text(encoding="utf-8").splitlines()
    content = Open(
        json.loads((out / SUBMISSION).read_text(encoding="utf-8")), [json.loads(li) for li in lines]
    )
    forgery.change(content)
    (out / SUBMISSION).write_text(json.dumps(content.submission), encoding="utf-8")
    told = "".join(f"{json.dumps(episode)}\n" for episode in content.episodes)
    (out / EPISODES).write_text(told, encoding="utf-8")
    (out / MANIFEST).write_text(json.dumps(manifest_of(out)), encoding="utf-8")
    return out


def _score_alone(it: Open) -> None:
    it.row(it.asked)["score"] += 5.0


def _fallbacks_alone(it: Open) -> None:
    it.row(it.asked)["fallback_rate"] = 0.5


def _action_of_random(it: Open) -> None:
    actions = it.silent["actions"]
    actions[3] = (actions[3] + 1) % 3


def _action_of_model(it: Open) -> None:
    actions = it.asked["actions"]
    actions[-1] = (actions[-1] + 1) % 3


def _reward_and_all(it: Open) -> None:
    episode = it.silent
    episode["rewards"][2] += 1.0
    episode["return"] += 1.0
    it.row(episode)["score"] += 1.0


def _rewards_moved(it: Open) -> None:
    rewards = it.asked["rewards"]
    rewards[0], rewards[1] = rewards[0] + 1.0, rewards[1] - 1.0


def _model_of_agent(it: Open) -> None:
    for entry in it.submission["agents"]:
        if entry["agent"] == it.asked["agent"]:
            entry["model_served"] = "gpt-5"


def _model_everywhere(it: Open) -> None:
    for entry in it.submission["agents"]:
        if entry["agent"] == it.asked["agent"]:
            entry["model_served"] = "gpt-5"
    for row in it.submission["results"]:
        if row["agent"] == it.asked["agent"]:
            row["model_served"] = "gpt-5"
    for episode in it.episodes:
        for reply in episode["replies"]:
            reply["model"] = "gpt-5"


def _other_version(it: Open) -> None:
    next(iter(it.submission["games"].values()))["version"] = "v4"


def _other_rom(it: Open) -> None:
    next(iter(it.submission["games"].values()))["rom_sha256"] = "0" * 64


def _one_missing(it: Open) -> None:
    it.episodes.remove(it.silent)


def _one_twice(it: Open) -> None:
    it.episodes.append(it.silent)


def _text_alone(it: Open) -> None:
    _, reply, _ = _another(it)
    reply["text"] = _RIGHT


def _text_and_action(it: Open) -> None:
    episode, reply, action = _another(it)
    reply["text"] = _RIGHT
    episode["actions"][reply["step"]] = action


def _another(it: Open) -> tuple[Entry, Entry, int]:
    """An episode, a reply in it that is not RIGHT, and the number of RIGHT."""
    episode = it.asked
    right = {"Pong": 2, "Catch": 1}[episode["game"]]
    replies = episode["replies"]
    return episode, next(r for r in replies if episode["actions"][r["step"]] != right), right


def _not_cut(it: Open) -> None:
    episode = it.silent
    episode["truncated"] = False
    it.row(episode)["truncated"] = 0


def _over(it: Open) -> None:
    episode = it.asked
    episode["terminated"], episode["truncated"] = True, False
    it.row(episode)["truncated"] = 0


def _more_seeds(it: Open) -> None:
    it.submission["config"]["seeds"].append(7)


def _not_sticky(it: Open) -> None:
    it.submission["protocol"]["repeat_action_probability"] = 0.0


def _longer(it: Open) -> None:
    episode = it.silent
    episode["actions"].append(0)
    episode["rewards"].append(0.0)
    episode["sources"] += "p"
    episode["length"] += 1
    it.row(episode)["steps"] += 1


def _return_alone(it: Open) -> None:
    episode = it.asked
    episode["return"] += 2.0
    it.row(episode)["score"] += 2.0


FORGERIES = (
    Forgery("forged score", "a score in results", _score_alone, "score is"),
    Forgery("forged score", "a share of fallbacks in results", _fallbacks_alone, "fallback_rate is"),
    Forgery("changed action", "of an agent that asks nobody", _action_of_random, "the agent decides"),
    Forgery("changed action", "beside a reply", _action_of_model, "its reply is read as"),
    Forgery("changed reward", "with return and score", _reward_and_all, "the reward is"),
    Forgery("changed reward", "moved to another step", _rewards_moved, "the reward is"),
    Forgery("swapped model", "of the agent", _model_of_agent, "model_served of the agent"),
    Forgery("swapped model", "everywhere, in every reply", _model_everywhere, "the reply is not the one"),
    Forgery("another game", "its version", _other_version, "version is 'v4'"),
    Forgery("another game", "its ROM", _other_rom, "rom_sha256 is"),
    Forgery("episodes", "one is missing", _one_missing, "episodes are missing"),
    Forgery("episodes", "one is there twice", _one_twice, "is there twice"),
    Forgery("changed reply", "its text", _text_alone, "its reply is read as"),
    Forgery("changed reply", "its text and the action", _text_and_action, "the reply is not the one"),
    Forgery("forged end", "a cut episode is called whole", _not_cut, "truncated is False"),
    Forgery("forged end", "a cut episode is called over", _over, "terminated is True"),
    Forgery("forged conditions", "a seed more in config", _more_seeds, "seeds"),
    Forgery("forged conditions", "no sticky actions", _not_sticky, "repeat_action_probability is 0.0"),
    Forgery("forged length or return", "a step more", _longer, "comes out"),
    Forgery("forged length or return", "a return, and the score with it", _return_alone, "return is"),
)  # fmt: skip

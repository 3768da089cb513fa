"""The card of what is shared: a README.md whose front matter the Hub reads, and whose words come from where the numbers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

import atari_vlm
from atari_vlm.runs.terminal import one_line
from atari_vlm.scores.statistics import Estimate

KIND_NAMES = {"run": "run", "checkpoint": "world model", "dataset": "data set"}
_LONGEST = 600


@dataclass(frozen=True)
class Score:
    """A mean with its interval: of whom, on which game, over how many episodes."""

    game: str
    agent: str
    estimate: Estimate
    episodes: int
    more: str = ""


@dataclass(frozen=True)
class Card:
    """What a card says; ``facts`` and ``protocol`` are words by name."""

    kind: str
    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    scores: Sequence[Score] = ()
    interval: str = ""
    notes: Sequence[str] = ()
    command: str = ""

    def text(self, repo: str, license_id: str) -> str:
        """The README.md of the repository ``repo``."""
        front = yaml.safe_dump(self._front(license_id), sort_keys=False, allow_unicode=True)
        lines = ["---", front.rstrip("\n"), "---", "", f"# {_words(self.title)}", ""]
        lines += [f"A {KIND_NAMES[self.kind]} of `atari_vlm` {atari_vlm.__version__}.", ""]
        lines += [f"- {name}: {_words(value)}" for name, value in self.facts.items() if value]
        lines += _section("Protocol", [f"- {n}: {_words(v)}" for n, v in self.protocol.items()])
        lines += _section("Scores", self._scores())
        lines += _section("Notes", [f"- {_words(note)}" for note in self.notes])
        lines += _section("Command", [_code(self.command)] if self.command else [])
        lines += _section("Use", _use(self.kind, repo))
        return "\n".join([*lines, ""])

    def _front(self, license_id: str) -> dict[str, Any]:
        front: dict[str, Any] = {"license": license_id, "tags": ["atari-vlm", "gymnasium"]}
        if self.kind == "checkpoint":
            front |= {"library_name": "atari-vlm", "pipeline_tag": "reinforcement-learning"}
            front["tags"] += ["world-model"]
        else:
            front["pretty_name"] = _words(self.title)
            front["tags"] += ["reinforcement-learning", self.kind]
        return front

    def _scores(self) -> list[str]:
        if not self.scores:
            return ["No score belongs to it."]
        lines = [
            "| Game | Agent | Score [low, high] | Episodes | |",
            "| --- | --- | --- | --- | --- |",
        ]
        for score in self.scores:
            cells = (score.game, score.agent, _estimate(score), str(score.episodes), score.more)
            lines.append(f"| {' | '.join(map(_words, cells))} |")
        return [*lines, *(["", self.interval] if self.interval else [])]


def _estimate(score: Score) -> str:
    """Value and interval; one run alone has none."""
    return str(score.estimate) + ("" if score.estimate.has_interval else " [-, -]")


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _use(kind: str, repo: str) -> list[str]:
    lines = [_code(f"python -m atari_vlm.report pull {repo} --out FOLDER")]
    if kind == "checkpoint":
        call = f'load_world_model("hub:{repo}")'
        lines += ["", f"or `{call}`, and `--checkpoint hub:{repo}` on the command line."]
    return lines


def _code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _words(value: Any) -> str:
    """A value on one line that means nothing to Markdown."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    if isinstance(value, Mapping):
        value = ", ".join(f"{name}: {item}" for name, item in value.items())
    text = one_line(str(value))[:_LONGEST]
    return text.translate({ord(mark): f"\\{mark}" for mark in "|<`*"})

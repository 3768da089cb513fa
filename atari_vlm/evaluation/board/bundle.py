"""A bundle: the folder in which a study is handed in. Its format, and how a stranger's is read within limits.

::

    submission.json   what was played under which conditions, and the results that are claimed
    episodes.jsonl    one line an episode: every action, reward and reply
    manifest.json     SHA-256 of the two: it tells damage from a whole copy, and is no evidence of anything else

Beside the names that the format fixes a bundle may hold what lets more of it be checked. Of an episode: ``sources`` (one
letter a step: m model, b buffer, p policy, f fallback). Of a reply: ``finish_reason`` (``stop`` where it is left out),
``note``, ``scores`` (log-probabilities of the actions, of a reply without text), ``latency_s`` (where the game waited for it).
Of an agent: ``answer``, the form in which its model was asked. Of the whole: ``picture_probe``, a digest of one picture.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.errors import AtariVLMError, reading
from atari_vlm.files import open_real, read_real
from atari_vlm.plain_json import plain_json
from atari_vlm.runs.terminal import one_line
from atari_vlm.types import Reply

FORMAT = 1
SUBMISSION, EPISODES, MANIFEST = "submission.json", "episodes.jsonl", "manifest.json"
SOURCES = {"m": "model", "b": "buffer", "p": "policy", "f": "fallback"}
MOST_EPISODES, MOST_STEPS = 50_000, 10_000_000
_MOST_BYTES = {SUBMISSION: 1 << 25, EPISODES: 1 << 30, MANIFEST: 1 << 16}
_MOST_LINE, _MOST_FILES, _MOST_PARTS, _LONGEST_NAME = 1 << 26, 64, 256, 400

Entry = Mapping[str, Any]


class Refused(AtariVLMError):
    """A bundle that is not taken; the message is the reason, as one sentence."""


@dataclass(frozen=True)
class Submission:
    """What ``submission.json`` says, none of it checked but for its types."""

    protocol: Entry
    config: Entry
    agents: Sequence[Entry]
    games: Entry
    versions: Mapping[str, str]
    results: Sequence[Entry]
    prompts: Sequence[str]
    picture_probe: str | None = None


@dataclass(frozen=True)
class Said:
    """A reply of a model, and which question it answers (``request_sha256``, see :func:`request_sha256`)."""

    step: int
    call: int
    reply: Reply
    request_sha256: str
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Told:
    """An episode as a bundle tells it."""

    game: str
    agent: str
    seed: int
    episode: int
    env_seed: int
    actions: Sequence[Any]
    rewards: Sequence[float]
    terminated: bool
    truncated: bool
    episode_return: float
    length: int
    replies: Sequence[Said] = field(default=())
    sources: str | None = None

    @property
    def key(self) -> tuple[str, str, int, int]:
        """Which episode of the study it is."""
        return self.game, self.agent, self.seed, self.episode

    @property
    def title(self) -> str:
        """What it is called in a reason."""
        return f"{self.game}, {self.agent}, seed {self.seed}, episode {self.episode}"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are what they should be."""

    folder: Path
    submission: Submission

    def episodes(self) -> Iterator[Told]:
        """The episodes, line by line; :class:`Refused` for a line that is none."""
        with open_real(self.folder / EPISODES, _MOST_BYTES[EPISODES]) as file:
            number = 0
            while line := file.readline(_MOST_LINE + 1):
                number += 1
                where = f"line {number} of {EPISODES}"
                if len(line) > _MOST_LINE:
                    raise Refused(f"{where} is longer than {_MOST_LINE:,} bytes")
                if number > MOST_EPISODES:
                    raise Refused(f"{EPISODES} holds more than {MOST_EPISODES:,} episodes")
                with reading(where, Refused):
                    told = _told(plain_json(line), where)
                yield told


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder; :class:`Refused` for links, missing, huge or damaged files, and what is no such JSON."""
    _check_files(folder)
    with reading(MANIFEST, Refused):
        manifest = plain_json(read_real(folder / MANIFEST, _MOST_BYTES[MANIFEST]))
    if not isinstance(manifest, dict) or manifest.keys() != {SUBMISSION, EPISODES}:
        raise Refused(f"{MANIFEST} names {SUBMISSION} and {EPISODES}, and nothing else")
    for name in (SUBMISSION, EPISODES):
        if _sha256(folder / name, _MOST_BYTES[name]) != manifest[name]:
            raise Refused(f"{name} is damaged: its SHA-256 is not that of {MANIFEST}")
    with reading(SUBMISSION, Refused):
        content = plain_json(read_real(folder / SUBMISSION, _MOST_BYTES[SUBMISSION]))
        return Bundle(folder, _submission(content))


def is_bundle(folder: Path) -> bool:
    """Whether a folder is one, good or bad."""
    return any(os.path.lexists(folder / name) for name in (SUBMISSION, EPISODES, MANIFEST))


def manifest_of(folder: Path) -> dict[str, str]:
    """What ``manifest.json`` says of the two files beside it."""
    return {name: _sha256(folder / name, _MOST_BYTES[name]) for name in (SUBMISSION, EPISODES)}


def request_sha256(request: Sequence[Any]) -> str:
    """SHA-256 of a question as the journal holds it: roles, and kind and SHA-256 of every part (texts, PNG pictures)."""
    return hashlib.sha256(json.dumps(request, separators=(",", ":")).encode()).hexdigest()


def _check_files(folder: Path) -> None:
    if folder.is_symlink():
        raise Refused("the bundle is a symbolic link")
    found = []
    for entry in os.scandir(folder):
        found.append(entry)
        if len(found) > _MOST_FILES:
            raise Refused(f"it holds more than {_MOST_FILES} files; a bundle has three")
    for entry in found:
        most = _MOST_BYTES.get(entry.name, 1 << 20)
        if entry.is_symlink():
            raise Refused(f"{entry.name} is a symbolic link; a bundle is a folder of plain files")
        if not entry.is_file(follow_symlinks=False):
            raise Refused(f"{entry.name} is no plain file; a bundle is a folder of plain files")
        if entry.stat(follow_symlinks=False).st_size > most:
            raise Refused(f"{entry.name} is larger than {most:,} bytes")
    missing = [name for name in _MOST_BYTES if name not in {entry.name for entry in found}]
    if missing:
        raise Refused(f"it holds no {missing[0]}")


def _sha256(path: Path, most: int) -> str:
    with open_real(path, most) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _submission(content: Any) -> Submission:
    names = ("protocol", "config", "agents", "games", "versions", "results", "prompts")
    _check(content, ("format", *names), SUBMISSION, ("picture_probe",))
    if content["format"] is not FORMAT:
        raise Refused(f"{SUBMISSION} is of format {content['format']!r:.40}; known is {FORMAT}")
    for name in ("protocol", "config", "games", "versions"):
        _want(isinstance(content[name], dict), f"{name} of {SUBMISSION} is a mapping")
    for name in ("agents", "results", "prompts"):
        _want(isinstance(content[name], list), f"{name} of {SUBMISSION} is a list")
    for name in ("agents", "results"):
        _want(all(isinstance(e, dict) for e in content[name]), f"{name} holds mappings")
    _want(all(map(_is_name, content["versions"].values())), "versions are words")
    _want(all(map(_is_name, content["prompts"])), "prompts are SHA-256s")
    probe = content.get("picture_probe")
    _want(probe is None or _is_name(probe), "picture_probe is a SHA-256")
    return Submission(**{name: content[name] for name in names}, picture_probe=probe)


def _told(content: Any, where: str) -> Told:
    names = ("game", "agent", "seed", "episode", "env_seed", "actions", "rewards")
    ends = ("terminated", "truncated", "return", "length", "replies")
    _check(content, (*names, *ends), where, ("sources",))
    for name in ("game", "agent"):
        _want(_is_name(content[name]), f"{name} in {where} is a word")
    for name in ("seed", "episode", "env_seed", "length"):
        _want(_is_count(content[name]), f"{name} in {where} is a whole number")
    for name in ("terminated", "truncated"):
        _want(isinstance(content[name], bool), f"{name} in {where} is true or false")
    for name in ("actions", "rewards", "replies"):
        _want(isinstance(content[name], list), f"{name} in {where} is a list")
    _want(all(map(_is_action, content["actions"])), f"an action in {where} is none")
    _want(all(map(_is_number, content["rewards"])), f"a reward in {where} is no number")
    _want(_is_number(content["return"]), f"return in {where} is a number")
    told = Told(
        **{name: content[name] for name in (*names, "terminated", "truncated", "length")},
        episode_return=content["return"],
        replies=tuple(_said(reply, where) for reply in content["replies"]),
        sources=content.get("sources"),
    )
    _check_lengths(told, where)
    return told


def _check_lengths(told: Told, where: str) -> None:
    counts = {len(told.actions), len(told.rewards), told.length}
    if len(counts) > 1:
        raise Refused(
            f"{where} has {len(told.actions)} actions and {len(told.rewards)} rewards, and says {told.length} steps"
        )
    _want(told.length > 0, f"{where} has steps")
    letters = told.sources
    known = isinstance(letters, str) and len(letters) == told.length and set(letters) <= {*SOURCES}
    _want(letters is None or known, f"sources in {where} has a letter of each step")
    at = [(said.step, said.call) for said in told.replies]
    in_order = at == sorted(set(at)) and [call for _, call in at] == list(range(len(at)))
    if not in_order or any(step >= told.length for step, _ in at):
        raise Refused(f"the replies in {where} are not numbered in order, each within a step")


def _said(content: Any, where: str) -> Said:
    more = ("finish_reason", "note", "scores", "latency_s")
    _check(
        content, ("step", "call", "text", "model", "request_sha256"), f"a reply in {where}", more
    )
    for name in ("step", "call"):
        _want(_is_count(content[name]), f"{name} of a reply in {where} is a whole number")
    _want(_is_name(content["request_sha256"]), f"request_sha256 in {where} is a word")
    scores = content.get("scores")
    _want(scores is None or _are_scores(scores), f"scores of a reply in {where} are numbers")
    given = {n: content[n] for n in ("finish_reason", "note", "latency_s") if n in content}
    reply = Reply.from_dict(
        {"text": content["text"], "model": content["model"], "usage": {}, **given}
    )
    _want(len(reply.model) <= _LONGEST_NAME, f"model of a reply in {where} is a name")
    return Said(
        content["step"],
        content["call"],
        reply,
        content["request_sha256"],
        None if scores is None else tuple(-math.inf if s is None else float(s) for s in scores),
    )


def _check(content: Any, names: Sequence[str], where: str, more: Sequence[str] = ()) -> None:
    if not isinstance(content, dict):
        raise Refused(f"{where} holds no mapping")
    if missing := [name for name in names if name not in content]:
        raise Refused(f"{where} lacks {missing[0]!r}")
    if unknown := [name for name in content if name not in {*names, *more}]:
        raise Refused(f"{where} has a name that the format does not know: {unknown[0]!r:.60}")


def _want(truth: bool, promise: str) -> None:
    if not truth:
        raise Refused(f"the format is not kept: {one_line(promise)}")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_NAME


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e15


def _is_action(value: Any) -> bool:
    if isinstance(value, list):
        return 0 < len(value) <= _MOST_PARTS and all(map(_is_number, value))
    return type(value) is int and abs(value) < 1 << 31


def _are_scores(value: Any) -> bool:
    """Log-probabilities; ``null`` stands for minus infinity."""
    return (
        isinstance(value, list)
        and len(value) <= _MOST_PARTS
        and all(s is None or _is_number(s) for s in value)
    )

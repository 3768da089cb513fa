"""The episodes of a run with everything that was seen, done, said and thought, played again from seeds and actions.

The run may be a stranger's. Its settings make nothing but games of ALE with plain, bounded options, this package's toys, and
games of modules that are trusted by name; an episode that does not come out as it is recorded ends the export.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.description import read_actions
from atari_vlm.errors import AtariVLMError, ConfigError, reading
from atari_vlm.picture import encode_png
from atari_vlm.pil_images import to_image
from atari_vlm.reporting.page.run_report import env_of_scene, scene_of
from atari_vlm.runs.environments import checked_settings
from atari_vlm.runs.game_names import is_atari
from atari_vlm.runs.journal import CallRow, EpisodeRow, Journal, Phase, StepRow
from atari_vlm.runs.outputs import done_episodes
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.runs.run_folder import read_config
from atari_vlm.spaces import Env
from atari_vlm.types import Transition

WORDS = ("action_name", "source", "reasoning", "reply", "prompt")


@dataclass(frozen=True)
class Choice:
    """Which episodes of a run: of one game (it may be left open where the run has one), of one phase, of trusted modules."""

    game: str | None = None
    phase: Phase | None = None
    trusted: Collection[str] = ()


@dataclass(frozen=True)
class Retold:
    """One episode of T steps.

    ``pictures`` are RGB PNGs, what the agent saw, and ``digests`` the SHA-256 of their RGB bytes, each ``(T + 1)``; ``texts``
    are the facts shown with them, likewise. ``words`` hold ``T`` texts for each name of ``WORDS``: the action's name, who decided
    (``model``, ``fallback`` ...), the reasoning, the model's last reply as it came, and the messages it was asked with, as JSON,
    pictures by the SHA-256 of their PNG. Where nobody was asked the last two are empty.
    """

    row: EpisodeRow
    game: str
    agent: str
    fps: int
    actions: np.ndarray  # int64 (T,)
    rewards: np.ndarray  # float64 (T,)
    terminated: np.ndarray  # bool (T,)
    truncated: np.ndarray  # bool (T,)
    action_names: tuple[str, ...]
    pictures: list[bytes]
    digests: list[str]
    texts: list[str]
    words: Mapping[str, list[str]]
    size: tuple[int, int]  # height, width
    keywords: Mapping[str, Any]  # of the environment, where the game is of ALE

    def __len__(self) -> int:
        return len(self.actions)


def retold_episodes(run: Path, choice: Choice = Choice()) -> Iterator[Retold]:
    """The chosen finished episodes in order, one in memory at a time.

    Raises ``ConfigError`` for no run, no such episode, several games, a game that is not made for a stranger's run, and one
    without pictures or buttons; ``RunError`` for a damaged journal and an episode that does not repeat.
    """
    settings = read_config(run)["settings"]
    file = run / "journal.sqlite"
    if file.is_symlink():
        raise ConfigError(f"{file} is a symbolic link, which is not followed")
    strange = functools.partial(reading, file, ConfigError, passing=(AtariVLMError,))
    with Journal(file, read_only=True) as journal:
        with strange():
            meta = journal.meta()
            rows = _chosen(run, journal, meta, settings, choice)
        for row in rows:
            with strange():
                told = _told(_Telling(journal, meta, settings, row), run, choice)
            yield told


def _told(telling: _Telling, run: Path, choice: Choice) -> Retold:
    scene = _bounded(telling.scene(), run)
    env = env_of_scene(scene, choice.trusted)
    try:
        return telling.told(env, scene)
    finally:
        env.close()


def _chosen(
    run: Path,
    journal: Journal,
    meta: Mapping[str, Any],
    settings: Mapping[str, Any],
    choice: Choice,
) -> list[EpisodeRow]:
    done = [row for row in done_episodes(journal) if choice.phase in (None, row.phase)]
    games = {row.episode: _game_of(meta, row.episode, settings) for row in done}
    wanted = choice.game or next(iter(games.values()), "")
    if choice.game is None and len(set(games.values())) > 1:
        raise ConfigError(
            f"{run} holds several games ({', '.join(sorted(set(games.values())))}); a data set is of one: --game NAME"
        )
    rows = [row for row in done if games[row.episode] == wanted and row.length]
    if not rows:
        of = f" of {choice.game}" if choice.game else ""
        phase = f" {choice.phase}" if choice.phase else ""
        raise ConfigError(f"{run} has no finished{phase} episode{of} to export")
    return rows


def _game_of(meta: Mapping[str, Any], episode: int, settings: Mapping[str, Any]) -> str:
    return str(meta.get("games", {}).get(str(episode)) or settings.get("game_name"))


def _bounded(scene: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """The settings of an episode's environment as far as a stranger's are taken."""
    if scene.get("dream") is not None:
        raise ConfigError(
            f"{run} was played in a dreamed game, whose pictures are a model's: only real games are exported"
        )
    if not is_atari(str(scene.get("game_name"))):
        return dict(scene)
    return {**checked_settings(scene, str(run)), "latency": scene.get("latency")}


class _Telling:
    """One episode, collected while it is played again."""

    def __init__(
        self,
        journal: Journal,
        meta: Mapping[str, Any],
        settings: Mapping[str, Any],
        row: EpisodeRow,
    ):
        self._journal, self._row = journal, row
        self.scene = functools.partial(scene_of, meta, row.episode, settings)
        self._game = _game_of(meta, row.episode, settings)
        label = meta.get("labels", {}).get(str(row.episode)) or settings.get("vlm_type") or ""
        self._agent = str(label).removeprefix(f"{self._game}, ")
        self._pictures: list[bytes] = []
        self._digests: list[str] = []
        self._texts: list[str] = []
        self._names: tuple[str, ...] = ()
        self._size = (0, 0)

    def told(self, env: Env, scene: Mapping[str, Any]) -> Retold:
        """Play it again."""
        row, steps = self._row, self._journal.steps(self._row.episode)
        if not all(isinstance(step.action, int) for step in steps):
            raise ConfigError(
                f"episode {row.episode} was played without buttons: only games of numbered actions are exported"
            )
        played = replay_episode(env, row, steps, self._see).transitions
        keywords = dict(scene.get("env") or {})
        return Retold(
            row, self._game, self._agent, _fps(env, keywords),
            actions=np.array([step.action for step in steps], np.int64),
            rewards=np.array([step.reward for step in played], np.float64),
            terminated=np.array([step.terminated for step in played], np.bool_),
            truncated=np.array([step.truncated for step in played], np.bool_),
            action_names=self._names, pictures=self._pictures, digests=self._digests, texts=self._texts,
            words=self._words(steps), size=self._size,
            keywords=keywords if is_atari(str(scene.get("game_name"))) else {},
        )  # fmt: skip

    def _see(self, transition: Transition) -> None:
        if not self._pictures:
            self._take(transition.observation)
            self._names = read_actions(transition.observation["action_space"])
        self._take(transition.next_observation)

    def _take(self, observation: Any) -> None:
        parts = ("image", "text", "action_space")
        if not isinstance(observation, Mapping) or any(part not in observation for part in parts):
            raise ConfigError(
                f"{self._game} shows no picture with facts and a list of actions, so there is nothing to export"
            )
        pixels = to_image(observation["image"]).pixels
        self._size = pixels.shape[0], pixels.shape[1]
        self._pictures.append(encode_png(pixels))
        self._digests.append(pixels_sha256(pixels))
        self._texts.append(_clean(str(observation["text"])))

    def _words(self, steps: Sequence[StepRow]) -> dict[str, list[str]]:
        calls: dict[int, CallRow] = {}
        for call in self._journal.calls(self._row.episode):
            if call.reply is not None:
                calls[call.step] = call  # the last one that was answered
        words: dict[str, list[str]] = {name: [] for name in WORDS}
        for step in steps:
            asked = calls.get(step.step)
            words["action_name"].append(self._names[int(step.action)])  # type: ignore[arg-type]
            words["source"].append(step.source)
            words["reasoning"].append(_clean(str(step.decision.get("reasoning") or "")))
            words["reply"].append("" if asked is None else _reply(asked))
            words["prompt"].append("" if asked is None else self._prompt(asked))
        return words

    def _prompt(self, call: CallRow) -> str:
        messages = [
            {"role": role, "content": [self._part(kind, sha) for kind, sha in parts]}
            for role, parts in call.request
        ]
        return _clean(json.dumps(messages, ensure_ascii=False))

    def _part(self, kind: str, sha: str) -> dict[str, str]:
        if kind != "text":
            return {"type": "image", "sha256": sha}
        return {
            "type": "text",
            "text": self._journal.blob(sha).decode("utf-8", "surrogatepass"),
        }


def pixels_sha256(pixels: np.ndarray) -> str:
    """SHA-256 (hex) of the RGB bytes of a picture uint8 ``(H, W, 3)``, as the integrations tell it too."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _reply(call: CallRow) -> str:
    """What came: a text, or of scores their numbers as JSON."""
    reply = call.reply or {}
    return _clean(str(reply["text"]) if "text" in reply else json.dumps(reply.get("scores")))


def _clean(text: str) -> str:
    """Text that every format can hold: no lone surrogates, and no character of number 0, which HDF5 ends a text at."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def _fps(env: Env, keywords: Mapping[str, Any]) -> int:
    """Steps of the agent in a second of the game."""
    rate = float(env.metadata.get("render_fps") or 60 / float(keywords.get("frame_skip", 4)))
    return max(1, round(rate))

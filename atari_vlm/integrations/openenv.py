"""An OpenEnv server of Atari games: PNG observations with digests, ids and seeds; and its client.

    python -m atari_vlm.integrations.openenv --game Pong-v5 --port 8000      # 127.0.0.1 alone

:class:`Session` is the game behind it and needs no OpenEnv; :func:`make_app` and :func:`make_client` do (extra ``openenv``).
"""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.ending import program
from atari_vlm.errors import ConfigError
from atari_vlm.integrations.playing import Game, Shown
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.options import Options

__all__ = ["Session", "make_app", "make_client"]

_LONGEST_ID = 255


class Session:
    """Episodes of one game as plain data; an episode ends with the game or after ``max_steps`` buttons."""

    def __init__(self, game: str = "Pong-v5", max_steps: int | None = None):
        self._game = Game(game, max_steps)
        self._episode_id = ""

    @property
    def buttons(self) -> tuple[str, ...]:
        """The names of the game's buttons."""
        return self._game.buttons

    def reset(self, seed: int | None = None, episode_id: str | None = None) -> dict[str, Any]:
        """Begin an episode. A seed and an id that are not given are drawn, and are in what is returned."""
        if episode_id is not None and not (
            isinstance(episode_id, str) and 0 < len(episode_id) <= _LONGEST_ID
        ):
            raise ConfigError(f"episode_id is a word of at most {_LONGEST_ID} characters")
        shown = self._game.reset(seed)
        self._episode_id = episode_id if episode_id is not None else uuid.uuid4().hex
        return self._told(shown)

    def step(self, button: str) -> dict[str, Any]:
        """Play one button; ``UnknownNameError`` for what is none, ``AtariVLMError`` where no episode is going on.

        Returns ``png`` (base64), ``sha256`` (of the RGB bytes that were played), ``reward``, ``done``, ``episode_id``, ``seed``,
        ``step``, ``text`` and ``buttons``.
        """
        return self._told(self._game.press(button))

    def state(self) -> dict[str, Any]:
        """Which episode it is, and how far."""
        shown = self._game.shown
        return {
            "episode_id": self._episode_id or None,
            "step_count": 0 if shown is None else shown.step,
        }

    def close(self) -> None:
        """Let the emulator go."""
        self._game.close()

    def _told(self, shown: Shown) -> dict[str, Any]:
        return {
            "png": shown.png,
            "sha256": shown.sha256,
            "reward": shown.reward,
            "done": shown.done,
            "episode_id": self._episode_id,
            "seed": self._game.seed,
            "step": shown.step,
            "text": shown.text,
            "buttons": list(self._game.buttons),
        }


def make_app(game: str = "Pong-v5", max_steps: int | None = None, sessions: int = 8) -> Any:
    """The FastAPI application that OpenEnv serves, with at most so many ``sessions`` at once, each a game of its own."""
    kinds = _kinds()
    Game(game, max_steps).close()  # what is no game is told now
    return kinds.server.create_fastapi_app(
        lambda: kinds.environment(game, max_steps),
        kinds.action,
        kinds.observation,
        max_concurrent_envs=sessions,
        state_cls=kinds.state,
    )


def make_client(base_url: str) -> Any:
    """OpenEnv's client of such a server: ``reset(seed=, episode_id=)``, ``step(button)``; observations are mappings as above."""
    return _kinds().client(base_url=base_url)


@dataclass(frozen=True)
class OpenEnvOptions(Options):
    """Which game is served, and where."""

    program = "integrations.openenv"

    game: str = "Pong-v5"
    """a game of ALE"""
    max_steps: int | None = None
    """buttons in an episode; without it 10,000"""
    host: str = "127.0.0.1"
    """the address that is listened at; another one than this is open to whoever reaches it"""
    port: int = 8000
    """the port"""
    sessions: int = 8
    """games at once"""


@lru_cache(maxsize=1)
def _kinds() -> SimpleNamespace:
    """OpenEnv's classes, made ours; its names are only known when it is installed."""
    core = require("openenv.core", "openenv")
    server = require("openenv.core.env_server", "openenv")
    action, observation = _messages(server)
    return SimpleNamespace(
        action=action,
        observation=observation,
        environment=_environment(server, observation),
        client=_client(core),
        state=server.State,
        server=server,
    )


def _messages(server: Any) -> tuple[Any, Any]:
    """The classes of an action and of an observation."""

    class AtariAction(server.Action):  # type: ignore[misc]
        """One button by its name."""

        button: str

    class AtariObservation(server.Observation):  # type: ignore[misc]
        """What :meth:`Session.step` returns."""

        png: str
        sha256: str
        episode_id: str
        seed: int
        step: int
        text: str
        buttons: list[str]

    for kind in (AtariAction, AtariObservation):
        kind.model_rebuild()  # pydantic reads annotations at run time
    return AtariAction, AtariObservation


def _environment(server: Any, told: Any) -> Any:
    """The class of the environment, whose observations are of the class ``told``."""

    class AtariServed(server.Environment):  # type: ignore[misc]
        """A :class:`Session` as OpenEnv serves it; each connection has its own."""

        SUPPORTS_CONCURRENT_SESSIONS = True

        def __init__(self, game: str, max_steps: int | None):
            super().__init__()
            self._session = Session(game, max_steps)

        def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Any:
            return told(**self._session.reset(seed, episode_id))

        def step(self, action: Any, timeout_s: float | None = None, **_: Any) -> Any:
            return told(**self._session.step(action.button))

        @property
        def state(self) -> Any:
            return server.State(**self._session.state())

        def close(self) -> None:
            self._session.close()

    return AtariServed


def _client(core: Any) -> Any:
    """The class of the client."""

    class AtariClient(core.GenericEnvClient):  # type: ignore[misc]
        """Takes the name of a button where the generic client takes a mapping."""

        def _step_payload(self, action: Any) -> dict[str, Any]:
            return {"button": action} if isinstance(action, str) else dict(action)

    return AtariClient


@program
def main(argv: list[str] | None = None) -> int:
    """Serve until it is stopped."""
    config = parse(OpenEnvOptions, argv, __doc__)
    app = make_app(config.game, config.max_steps, config.sessions)
    require("uvicorn", "openenv").run(app, host=config.host, port=config.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())

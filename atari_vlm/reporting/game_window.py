"""A window for a :class:`GameSession`: pygame shows its picture and hears its keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError
from atari_vlm.reporting.game_session import GameSession
from atari_vlm.reporting.recording import Recording
from atari_vlm.training.rollout import Env

_ARROWS = {"up": "w", "left": "a", "down": "s", "right": "d"}


class Keys:
    """Which action the held keys mean."""

    def __init__(self, env: Env):
        if hasattr(env.unwrapped, "get_keys_to_action"):
            table: Mapping[Any, Any] = env.unwrapped.get_keys_to_action()
        elif isinstance(env.action_space, gymnasium.spaces.Discrete):
            first = int(env.action_space.start)
            table = {(str(i),): first + i for i in range(min(10, int(env.action_space.n)))}
        else:
            raise ConfigError(f"keys can only choose among discrete actions, not {env.action_space}: give an --agent")
        self._table = {frozenset(map(_key_name, keys)): action for keys, action in table.items()}
        self._used = frozenset().union(*self._table)
        self._nothing = self._table.get(frozenset(), next(iter(self._table.values())))

    def action(self, held: frozenset[str]) -> Any:
        """The action of the most of the held keys that mean one together; the game's first action for none."""
        wanted = held & self._used
        fitting = [keys for keys in self._table if keys and keys <= wanted]
        return self._table[max(fitting, key=lambda keys: (len(keys), sorted(keys)))] if fitting else self._nothing


class Window:
    """The loop of one window. :meth:`turn` does one step's worth, so that a test can drive it."""

    def __init__(self, session: GameSession, fps: float):
        self._pygame: Any = require("pygame", "play")
        self.session, self.fps = session, fps
        self.keys = Keys(session.env) if session.agent is None else None
        self.paused = False
        self.open = True
        self._held: set[str] = set()
        self.saved: list[Path] = []
        self._pygame.display.init()
        session.begin()
        height, width = session.picture().shape[:2]
        self._screen = self._pygame.display.set_mode((width, height), self._pygame.RESIZABLE)
        self._clock = self._pygame.time.Clock()

    def turn(self) -> None:
        """Hear the keys, play a step unless paused, show the picture, wait for the next one's time."""
        for event in self._pygame.event.get():
            self._hear(event)
        if not self.paused and not self.session.over:
            self.session.step(None if self.keys is None else self.keys.action(frozenset(self._held)))
        if self.session.over and self.keys is None:
            self.session.begin()
        self._show()
        self._clock.tick(self.fps)

    def close(self) -> None:
        """End a recording and the window."""
        self._end_recording()
        self._pygame.display.quit()

    def _hear(self, event: Any) -> None:
        pygame = self._pygame
        if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE):
            self.open = False
        elif event.type == pygame.KEYUP:
            self._held.discard(_key_name(pygame.key.name(event.key)))
        elif event.type == pygame.KEYDOWN:
            if event.key == pygame.K_PERIOD:
                self.paused = not self.paused
            elif event.key == pygame.K_RETURN:
                self.session.begin()
            elif event.key == pygame.K_COMMA:
                self._toggle_recording()
            else:
                self._held.add(_key_name(pygame.key.name(event.key)))

    def _toggle_recording(self) -> None:
        if self.session.recording is not None:
            self._end_recording()
            return
        number = 1
        while Path(f"recording-{number:03d}.mp4").exists():
            number += 1
        self.session.start_recording(Recording(f"recording-{number:03d}.mp4", self.fps))

    def _end_recording(self) -> None:
        path = self.session.stop_recording()
        if path is not None:
            self.saved.append(path)

    def _show(self) -> None:
        pygame = self._pygame
        picture = np.ascontiguousarray(self.session.picture().swapaxes(0, 1))
        surface = pygame.surfarray.make_surface(picture)
        factor = min(a / b for a, b in zip(self._screen.get_size(), surface.get_size(), strict=True))
        size = tuple(max(1, round(side * factor)) for side in surface.get_size())
        corner = tuple((a - b) // 2 for a, b in zip(self._screen.get_size(), size, strict=True))
        self._screen.fill((18, 20, 22))
        self._screen.blit(pygame.transform.scale(surface, size), corner)
        marks = [
            word for word, on in (("paused", self.paused), ("recording", self.session.recording is not None)) if on
        ]
        pygame.display.set_caption(" - ".join(["atari_vlm", *marks]))
        pygame.display.flip()


def play_in_window(session: GameSession, fps: float, steps: int | None = None) -> Path | None:
    """Play until the window is closed, or for ``steps`` turns; the path of the last recording, if any was made."""
    window = Window(session, fps)
    try:
        turns = 0
        while window.open and (steps is None or turns < steps):
            window.turn()
            turns += 1
    finally:
        window.close()
    return window.saved[-1] if window.saved else None


def _key_name(key: Any) -> str:
    """One name for a key, whether an environment or pygame names it: ``" "`` and ``"space"`` are the same; arrows are wasd."""
    name = chr(key) if isinstance(key, int) else str(key)
    name = "space" if name == " " else name.lower()
    return _ARROWS.get(name, name)

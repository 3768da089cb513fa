"""A window for a :class:`GameSession`: pygame shows its picture and hears its keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError
from atari_vlm.spaces import Env
from atari_vlm.viewing.game_session import GameSession
from atari_vlm.viewing.recording import Recording

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
            raise ConfigError(
                f"keys can only choose among discrete actions, not {env.action_space}: give an --agent"
            )
        self._table = {frozenset(map(_key_name, keys)): action for keys, action in table.items()}
        self._used = frozenset().union(*self._table)
        self._nothing = self._table.get(frozenset(), next(iter(self._table.values())))

    def action(self, held: frozenset[str]) -> Any:
        """The action of the most of the held keys that mean one together; the game's first action for none."""
        wanted = held & self._used
        fitting = [keys for keys in self._table if keys and keys <= wanted]
        return (
            self._table[max(fitting, key=lambda keys: (len(keys), sorted(keys)))]
            if fitting
            else self._nothing
        )


class PictureWindow:
    """A window that shows pictures, enlarged to its size, and says which keys go down and up."""

    def __init__(self, first: np.ndarray):
        self._pygame: Any = require("pygame", "play")
        self._open_display()
        height, width = first.shape[:2]
        self._screen = self._pygame.display.set_mode((width, height), self._pygame.RESIZABLE)
        self._clock = self._pygame.time.Clock()
        self.open = True

    def _open_display(self) -> None:
        """``ConfigError`` where a window would be shown to nobody, unless SDL_VIDEODRIVER says that this is meant."""
        display = self._pygame.display
        try:
            display.init()
            is_shown = os.environ.get("SDL_VIDEODRIVER") or display.get_driver() not in (
                "dummy",
                "offscreen",
            )
        except self._pygame.error:
            is_shown = False
        if not is_shown:
            display.quit()
            raise ConfigError(
                "no display: let an agent play into a file instead, --agent NAME --record FILE.mp4"
            )

    def keys(self) -> list[tuple[str, bool]]:
        """What happened to the keys since the last call: pygame's name, and whether the key went down."""
        pygame, events = self._pygame, []
        for event in pygame.event.get():
            if event.type == pygame.QUIT or (
                event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE
            ):
                self.open = False
            elif event.type in (pygame.KEYDOWN, pygame.KEYUP):
                events.append((pygame.key.name(event.key), event.type == pygame.KEYDOWN))
        return events

    def show(self, picture: np.ndarray, marks: Mapping[str, bool], fps: float) -> None:
        """Show uint8 ``(H, W, 3)`` and the true ``marks`` in the title, then wait for the next picture's time."""
        pygame = self._pygame
        surface = pygame.surfarray.make_surface(np.ascontiguousarray(picture.swapaxes(0, 1)))
        factor = min(
            a / b for a, b in zip(self._screen.get_size(), surface.get_size(), strict=True)
        )
        size = tuple(max(1, round(side * factor)) for side in surface.get_size())
        corner = tuple((a - b) // 2 for a, b in zip(self._screen.get_size(), size, strict=True))
        self._screen.fill((18, 20, 22))
        self._screen.blit(pygame.transform.scale(surface, size), corner)
        pygame.display.set_caption(
            " - ".join(["atari_vlm", *(word for word, on in marks.items() if on)])
        )
        pygame.display.flip()
        self._clock.tick(fps)

    def close(self) -> None:
        """End the window."""
        self._pygame.display.quit()


class TurnedWindow:
    """A window whose loop somebody turns, so that a test can drive it; ``saved`` are the films that it wrote."""

    def __init__(self, first: np.ndarray, fps: float):
        self.fps = fps
        self.saved: list[Path] = []
        self._window = PictureWindow(first)

    @property
    def open(self) -> bool:
        """Whether nobody has closed it yet."""
        return self._window.open

    def turn(self) -> None:
        """Hear the keys, go on by one picture, show it, wait for the next one's time."""
        raise NotImplementedError

    def end_recording(self) -> None:
        """Finish the film that is being written, if there is one."""
        raise NotImplementedError

    def close(self) -> None:
        """End a recording and the window."""
        self.end_recording()
        self._window.close()

    def run(self, steps: int | None = None) -> Path | None:
        """Turn until it is closed, or ``steps`` times; the path of the last recording, if any was made."""
        try:
            turns = 0
            while self.open and (steps is None or turns < steps):
                self.turn()
                turns += 1
        finally:
            self.close()
        return self.saved[-1] if self.saved else None


class Window(TurnedWindow):
    """The window of a session: a turn is a step."""

    def __init__(self, session: GameSession, fps: float):
        self.session = session
        self.keys = Keys(session.env) if session.agent is None else None
        self.paused = False
        self._held: set[str] = set()
        session.begin()
        super().__init__(session.picture(), fps)

    def turn(self) -> None:
        """Hear the keys, play a step unless paused, show the picture, wait for the next one's time."""
        for key, down in self._window.keys():
            self._hear(key, down)
        if not self.paused and not self.session.over:
            self.session.step(
                None if self.keys is None else self.keys.action(frozenset(self._held))
            )
        if self.session.over and self.keys is None:
            self.session.begin()
        marks = {"paused": self.paused, "recording": self.session.recording is not None}
        self._window.show(self.session.picture(), marks, self.fps)

    def _hear(self, key: str, down: bool) -> None:
        if not down:
            self._held.discard(_key_name(key))
        elif key == ".":
            self.paused = not self.paused
        elif key == "return":
            self.session.begin()
        elif key == ",":
            self._toggle_recording()
        else:
            self._held.add(_key_name(key))

    def _toggle_recording(self) -> None:
        if self.session.recording is not None:
            self.end_recording()
        else:
            self.session.start_recording(
                Recording(free_name(), self.fps, self.session.env.action_space)
            )

    def end_recording(self) -> None:
        """Finish the film that is being written, if there is one."""
        path = self.session.stop_recording()
        if path is not None:
            self.saved.append(path)


def free_name() -> str:
    """``recording-001.mp4``, or the next number that no file of the present folder has."""
    number = 1
    while Path(f"recording-{number:03d}.mp4").exists():
        number += 1
    return f"recording-{number:03d}.mp4"


def play_in_window(session: GameSession, fps: float, steps: int | None = None) -> Path | None:
    """Play until the window is closed, or for ``steps`` turns; the path of the last recording, if any was made."""
    return Window(session, fps).run(steps)


def _key_name(key: Any) -> str:
    """One name for a key, whether an environment or pygame names it: ``" "`` and ``"space"`` are the same; arrows are wasd."""
    name = chr(key) if isinstance(key, int) else str(key)
    name = "space" if name == " " else name.lower()
    return _ARROWS.get(name, name)

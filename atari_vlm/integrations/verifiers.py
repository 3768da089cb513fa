"""An environment of verifiers: a model plays an Atari game turn by turn, and every turn brings a picture as an image part.

::

    from atari_vlm.integrations.verifiers import load_environment

    env = load_environment(game="Pong-v5", max_steps=50, episodes=8)

Needs the extra ``verifiers``, in an environment of its own: it wants older packages of the vendors than the extra ``api``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atari_vlm._lazy import require
from atari_vlm.errors import check_count
from atari_vlm.integrations.playing import Game, Shown, button_in, buttons_of, task_text

require("verifiers.v1", "verifiers")  # says which extra brings it

import verifiers.v1 as vf  # noqa: E402

__all__ = ["AtariEnv", "AtariTaskset", "load_environment"]

ID = "atari-vlm-games"  # verifiers imports the module of this name, also in processes that it starts, which get the path
_BY_NAME = str(Path(__file__).parent / "by_name")
if _BY_NAME not in sys.path:
    sys.path.append(_BY_NAME)
_HOW = "Answer with one button alone on the last line."


class AtariConfig(vf.TasksetConfig):
    """Which episodes: of one game, on ascending seeds."""

    game: str = "Pong-v5"
    max_steps: int = 50
    episodes: int = 8
    first_seed: int = 0


class AtariData(vf.TaskData):
    """``info``: game, seed and number of steps of one episode."""

    info: dict[str, Any]


class AtariTask(vf.Task[AtariData, vf.State, vf.TaskConfig]):
    """One episode."""


class AtariTaskset(vf.Taskset[AtariTask, AtariConfig]):
    """The episodes that a configuration asks for."""

    def load(self) -> Iterator[AtariTask]:
        """One task a seed; the game opens the conversation, so there is no prompt."""
        config = self.config
        system = f"{task_text(Game(config.game).name, buttons_of(config.game))} {_HOW}"
        for seed in range(config.first_seed, config.first_seed + config.episodes):
            info = {"game": config.game, "seed": seed, "max_steps": config.max_steps}
            data = AtariData(name=f"{config.game}#{seed}", system_prompt=system, info=info)
            yield AtariTask(data, config.task)


class AtariEnvConfig(vf.EnvConfig):
    """Who plays: a model alone, without tools, asked from this machine."""

    player: vf.AgentConfig = vf.AgentConfig()


class AtariEnv(vf.Env[AtariEnvConfig]):
    """Plays an episode: a picture and the facts to the model, its button to the game. The reward is the episode's return."""

    async def run(self, task: Any, agents: Any) -> None:
        """One episode; a reply in which no button is named is NOOP, and counted in the trace's ``info``."""
        info = task.data.info
        game = Game(info["game"], info["max_steps"])
        shown, total, fallbacks = game.reset(info["seed"]), 0.0, 0
        digests = [shown.sha256]
        async with agents.player.interaction(task) as interaction:
            segment = await interaction.turn([_message(shown)])
            while not segment.terminated:
                button = button_in(segment.last_reply or "", game.buttons)
                fallbacks += button is None
                shown = game.press(button or "NOOP")
                total += shown.reward
                digests.append(shown.sha256)
                if shown.done:
                    break
                segment = await interaction.turn([_message(shown)])
        game.close()
        interaction.trace.record_reward("episode_return", total, 1.0)
        interaction.trace.info["atari"] = {
            "steps": shown.step,
            "fallbacks": fallbacks,
            "sha256": digests,
        }


def load_environment(
    game: str = "Pong-v5",
    max_steps: int = 50,
    episodes: int = 8,
    first_seed: int = 0,
    **config: Any,
) -> AtariEnv:
    """The environment; ``config`` are further fields of :class:`AtariEnvConfig`.

    Raises ``UnknownNameError`` for what is no game of ALE, ``ConfigError`` for numbers that are none.
    """
    check_count(max_steps=max_steps, episodes=episodes)
    Game(game, max_steps).close()
    asked = {"game": game, "max_steps": max_steps, "episodes": episodes, "first_seed": first_seed}
    player = {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}}
    whole = {"taskset": {"id": ID, **asked}, "player": player, **config}
    env: AtariEnv = vf.load_environment(AtariEnvConfig.model_validate(whole))
    return env


def _message(shown: Shown) -> dict[str, Any]:
    """A moment as the user's turn: a picture, then the facts."""
    picture = {"type": "image_url", "image_url": {"url": shown.data_url}}
    return {"role": "user", "content": [picture, {"type": "text", "text": shown.text}]}

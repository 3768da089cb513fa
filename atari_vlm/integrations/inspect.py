"""A task of inspect_ai: a model that sees pictures plays an Atari game; the score is the return of the episode.

    inspect eval atari_vlm/atari --model openai/gpt-5.4-mini -T game=Pong-v5 -T max_steps=50 -T episodes=3
    inspect eval atari_vlm/atari --model one-button/FIRE -T max_steps=50      # without a model and without a network

Needs the extra ``inspect``; the entry point ``inspect_ai`` makes the name known to it.
"""

from __future__ import annotations

from typing import Any

from atari_vlm._lazy import require
from atari_vlm.errors import check_count
from atari_vlm.integrations.playing import Game, Shown, button_in, buttons_of, task_text

require("inspect_ai", "inspect")  # says which extra brings it

from inspect_ai import Task, task  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.model import (  # noqa: E402
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    ContentText,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    get_model,
    modelapi,
)
from inspect_ai.scorer import Score, Target, mean, scorer, stderr  # noqa: E402
from inspect_ai.solver import Generate, TaskState, solver  # noqa: E402

__all__ = ["OneButton", "atari", "episode_return", "play"]

_HOW = "Answer with one button alone on the last line."


@task
def atari(
    game: str = "Pong-v5",
    max_steps: int = 50,
    episodes: int = 1,
    first_seed: int = 0,
    history: int = 4,
) -> Task:
    """``episodes`` episodes of a game on ascending seeds, of at most ``max_steps`` buttons each.

    The model is shown the last ``history`` moments and what it answered to them.
    """
    check_count(max_steps=max_steps, episodes=episodes, history=history)
    name = Game(game, max_steps).name
    samples = [
        Sample(
            input=task_text(name, buttons_of(game)),
            id=f"{name}-{seed}",
            metadata={"game": game, "seed": seed, "max_steps": max_steps},
        )
        for seed in range(first_seed, first_seed + episodes)
    ]
    return Task(
        dataset=MemoryDataset(samples, name=name), solver=play(history), scorer=episode_return()
    )


@solver
def play(history: int = 4) -> Any:
    """Plays the sample's episode; a reply in which no button is named is NOOP, and counted."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        told = state.metadata
        game = Game(told["game"], told["max_steps"])
        shown, model = game.reset(told["seed"]), get_model()
        state.messages = [ChatMessageSystem(content=f"{state.input_text} {_HOW}")]
        total, fallbacks, digests = 0.0, 0, [shown.sha256]
        while not shown.done:
            state.messages.append(_message(shown))
            recent = [state.messages[0], *state.messages[1:][-(2 * history - 1) :]]
            state.output = await model.generate(recent)
            state.messages.append(state.output.message)
            button = button_in(state.output.completion, game.buttons)
            fallbacks += button is None
            shown = game.press(button or "NOOP")
            total += shown.reward
            digests.append(shown.sha256)
        state.metadata["played"] = {
            "return": total,
            "steps": shown.step,
            "fallbacks": fallbacks,
            "sha256": digests,
        }
        game.close()
        return state

    return solve


@scorer(metrics=[mean(), stderr()])
def episode_return() -> Any:
    """The episode's return; how many replies named no button stands beside it."""

    async def score(state: TaskState, target: Target) -> Score:
        played = state.metadata["played"]
        share = played["fallbacks"] / max(1, played["steps"])
        return Score(
            value=played["return"],
            explanation=f"{played['steps']} steps, {share:.1%} of the replies named no button",
            metadata=played,
        )

    return score


@modelapi(name="one-button")
class OneButton(ModelAPI):  # type: ignore[misc]
    """Answers with the button that the model is named by, ``one-button/FIRE``: for trying the task out.

    inspect's own mock counts tokens with a table from the network; this one says that it used none.
    """

    async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        """The button."""
        output = ModelOutput.from_content(self.model_name, self.model_name)
        output.usage = ModelUsage(input_tokens=0, output_tokens=0, total_tokens=0)
        return output


def _message(shown: Shown) -> ChatMessageUser:
    return ChatMessageUser(
        content=[ContentImage(image=shown.data_url), ContentText(text=shown.text)]
    )

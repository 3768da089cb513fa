"""In which form a VLM is asked for an action: what each form takes of it, and which one is taken where nobody says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from atari_vlm.description import read_actions
from atari_vlm.errors import MismatchError, NotSupportedError
from atari_vlm.vlm.base import VLM

AnswerMode = Literal["auto", "json", "choice", "scores", "text", "thoughts"]
FORM_OF_MODE = {
    "json": "json",
    "choice": "choice",
    "scores": "choice",
    "text": "text",
    "thoughts": "text",
}
"""The answer form of the prompt."""
_TRAINED = {
    "only scores": (
        "scores",
        "(an adapter, or the bundled model) was trained to be scored",
    ),
    "only thoughts": ("thoughts", "(an adapter) was trained to think and then be scored"),
}
_BEST_FIRST = {"schema": "json", "scores": "scores", "choices": "choice"}


def answer_mode(wanted: str, vlm: VLM) -> str:
    """The form that ``wanted`` means for this VLM; ``NotSupportedError`` for one that it is not capable of."""
    for capability, (trained, how) in _TRAINED.items():
        if capability in vlm.capabilities:
            if wanted in ("auto", trained):
                return trained
            raise NotSupportedError(f"{vlm.name} {how}; answer can be {trained}, not {wanted}")
    if wanted in ("scores", "thoughts") and "scores" not in vlm.capabilities:
        raise NotSupportedError(
            f"{vlm.name} cannot score choices; answer can be json, choice or text"
        )
    if wanted != "auto":
        return wanted
    return next((mode for name, mode in _BEST_FIRST.items() if name in vlm.capabilities), "text")


def check_free_to_answer(vlm: VLM, what: str) -> None:
    """Raise ``NotSupportedError`` for a VLM that was trained to think and then be scored, and is asked for something else."""
    if "only thoughts" in vlm.capabilities:
        raise NotSupportedError(
            f"{vlm.name} {_TRAINED['only thoughts'][1]}: it gives no {what}, and plays with answer=thoughts"
        )


def legal_actions(observation: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of an observation's actions; ``MismatchError`` where it lacks what an agent is asked with."""
    missing = [key for key in ("image", "text", "action_space") if key not in observation]
    if missing:
        raise MismatchError(
            f"a VLM agent needs observations with image, text and action_space; {missing[0]} is missing"
        )
    return read_actions(observation["action_space"])

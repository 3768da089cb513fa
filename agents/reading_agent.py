"""An agent whose VLM first writes down what it sees: a decision is then made from the picture and its own reading.

The own-symbols condition of *See, Symbolize, Act* (arXiv 2603.11601): one more request for every decision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from atari_vlm.agents.thoughts import split_thinking
from atari_vlm.agents.vlm_agent import VLMAgent
from atari_vlm.pil_images import to_image
from atari_vlm.types import Decision, Message, Transition
from atari_vlm.vlm.base import VLM, Sampling

INSTRUCTIONS = (
    "You look at one picture of a video game. Write down in at most five short lines which objects you see and "
    "where: for each its name and its box [x0, y0, x1, y1] in pixels of the picture, from the top left corner. "
    "Write nothing else, and choose no action."
)
_LONGEST = 1000  # characters of a reading that are shown again


class ReadingAgent:
    """``agent``, whose facts are lengthened by what ``vlm`` reads from the newest picture; asked only where a decision is due."""

    def __init__(self, agent: VLMAgent, vlm: VLM):
        self.agent, self.vlm = agent, vlm

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode."""
        self.agent.reset(seed=seed)

    def act(self, observation: Mapping[str, Any]) -> Decision:
        """Read, then decide; the reading is the first of the decision's replies."""
        if not self.agent.is_due:
            return self.agent.act(observation)
        options = self.agent.options
        question = Message.of("user", to_image(observation["image"]), observation["text"])
        sampling = Sampling(temperature=options.temperature, max_tokens=options.max_tokens)
        reply = self.vlm.complete((Message.of("system", INSTRUCTIONS), question), sampling=sampling)
        said = split_thinking(reply.text)[1] or reply.text
        reading = " ".join(said.split())[:_LONGEST] or "nothing"
        text = f"{observation['text']}\nYour own reading of the picture: {reading}"
        decision = self.agent.act({**observation, "text": text})
        details = {**decision.details, "reading": reading}
        return dataclasses.replace(decision, replies=(reply, *decision.replies), details=details)

    def observe(self, transition: Transition) -> None:
        """Pass on what happened."""
        self.agent.observe(transition)

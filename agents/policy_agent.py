"""The policy that was trained in a world model, as an agent: it plays in its dream and in the real game alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from atari_vlm._lazy import require
from atari_vlm.actions import as_action, as_actions
from atari_vlm.description import read_actions
from atari_vlm.errors import MismatchError, check_temperature
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.world_models.checkpoint import build_policy, read_checkpoint
from atari_vlm.world_models.inputs import IMAGE, read_inputs
from atari_vlm.world_models.seeing import Eye, FrameSource


class PolicyAgent:
    """Plays with the policy of a ``checkpoint`` folder.

    It sees what its checkpoint was trained on, through an :class:`~atari_vlm.world_models.seeing.Eye`: what
    ``frame_source`` returns (an environment's ``render``), else the screen that an observation's PIL image was
    made from (in a dream: the model's own frame). Actions are drawn at ``temperature`` (0 takes the likeliest; REM
    evaluates at 0.5). The policy is told what was really played, whoever chose it. Raises ``NotSupportedError`` for a kind of
    checkpoint without policy and, at the first observation, ``MismatchError`` where its actions are not the
    game's, or the picture is not made as those it learned from.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        frame_source: FrameSource | None = None,
        temperature: float = 0.5,
        device: str = "cpu",
    ):
        check_temperature(temperature=temperature)
        read = read_checkpoint(checkpoint)
        self._policy = build_policy(read, str(checkpoint), device)
        self._torch = require("torch", "train")
        self._inputs, self._keys = dict(self._policy.inputs), tuple(read.config.get("keys", ()))
        self._eye: Eye | None = None
        if IMAGE in self._inputs:
            space = gymnasium.spaces.Box(0, 255, self._inputs[IMAGE].shape, np.uint8)
            self._eye = Eye(space, frame_source, read.config.get("shown_shape"))
        self._state = self._policy.begin(1)
        self._names, self._checkpoint = read.action_names, str(checkpoint)
        self._temperature = temperature
        self._generator = self._torch.Generator(device).manual_seed(0)

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode; without a seed the random numbers go on where they were."""
        if seed is not None:
            self._generator.manual_seed(seed)
        self._state = self._policy.begin(1)

    def act(self, observation: Any) -> Decision:
        """Look at the newest frame and draw an action."""
        action_list = observation.get("action_space") if isinstance(observation, Mapping) else None
        if isinstance(action_list, str) and read_actions(action_list) != self._names:
            theirs = ", ".join(read_actions(action_list))
            raise MismatchError(
                f"the policy of {self._checkpoint} acts with {', '.join(self._names)}; the game with {theirs}"
            )
        actions, self._state = self._policy.act(
            {name: array[None] for name, array in self._seen(observation).items()},
            self._state,
            generator=self._generator,
            temperature=self._temperature,
        )
        return Decision(as_action(self._policy.action_space, actions[0]), Source.POLICY)

    def observe(self, transition: Transition) -> None:
        """Take in what was played."""
        played = as_actions(self._policy.action_space, np.asarray(transition.decision.action)[None])
        self._state = self._policy.executed(played, self._state)

    def _seen(self, observation: Any) -> dict[str, np.ndarray]:
        """What the policy wants to see: its picture through the eye, the rest as the game shows it."""
        named = not isinstance(observation, Mapping) or IMAGE in observation
        seen = {IMAGE: self._eye(observation)} if self._eye is not None and named else {}
        rest = {name: column for name, column in self._inputs.items() if name not in seen}
        return {**seen, **(read_inputs(observation, rest, "the game", self._keys) if rest else {})}

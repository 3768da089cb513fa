"""What a planning run is made of: its settings, its variants, and how their environments, models and agents are built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from atari_vlm.agents.action_buffer import ActionBuffer
from atari_vlm.agents.base import Agent
from atari_vlm.agents.plan_judge import PlanOptions
from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.agents.world_model_agent import WorldModelAgent
from atari_vlm.agents.worlds import Worlds
from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import CATCH, game_name, is_atari
from atari_vlm.runs.options import TYPED_ONLY, EpisodeOptions, Options, SeedOptions, pairs, shared
from atari_vlm.settings import plain
from atari_vlm.spaces import Env
from atari_vlm.vlm.base import VLM
from atari_vlm.world_models.base import WorldModel


@dataclass(frozen=True)
class Variant:
    """One way to play: does the VLM propose plans or single actions, are plans judged, are they remembered?

    ``replanning`` names the variant that differs only in making a new request at every step.
    """

    name: str
    plans: bool
    model: bool = False
    buffer: bool = False
    replanning: str = ""


ABLATION = (
    Variant("no plan", plans=False),
    Variant("plan", plans=True),
    Variant("plan, model", plans=True, model=True),
    Variant("plan, buffer", plans=True, buffer=True, replanning="plan"),
    Variant("plan, model, buffer", plans=True, model=True, buffer=True, replanning="plan, model"),
)


@dataclass(frozen=True)
class WorldOptions(Options):
    """The world model that judges plans, and the game as it sees it."""

    world_model: str = field(
        default="emulator", metadata={**TYPED_ONLY, "harmless": ("emulator", "catch")}
    )
    """emulator, catch, or the checkpoint folder of a world model"""
    use_world_model: bool = True
    """without it the VLM's first plan is followed"""
    dream: str | None = field(default=None, metadata=TYPED_ONLY)
    """checkpoint folder of a world model to play in, instead of the real game"""
    end_on_life_loss: bool = True
    """the emulator as a model takes a lost life for the end"""
    sticky: float | None = None
    """chance that the game repeats an action; without it 0 with the emulator as the model, else 0.25"""


@dataclass(frozen=True)
class PlansOptions(Options):
    """Plans, and where they wait."""

    plan_horizon: int = 5
    """actions in a plan"""
    num_plans: int = 3
    """plans per request"""
    use_action_buffer: bool = True
    """follow plans instead of asking at every step"""
    action_buffer_size: int = 10
    """most plans that wait in the buffer"""
    action_buffer_threshold: float = 0.0
    """lowest score with which a plan enters it"""
    ablation: bool = False
    """compare no plan, plan, plan with model, with buffer, with both, on the same seeds"""


@dataclass(frozen=True)
class PlanSettings(SeedOptions, EpisodeOptions, PlansOptions, WorldOptions):
    """Everything that the results of a planning run depend on, but for the VLM.

    ``game`` is an Atari game or ``Catch``. ``sticky`` is the repeat-action probability, which the emulator as a model needs to be
    0. ``ablation`` plays every variant of :data:`ABLATION` on the same seeds.
    """

    game: str = "Breakout"
    num_episodes: int = 3
    options: PlanOptions = field(default_factory=PlanOptions)

    def __post_init__(self) -> None:
        if self.game.strip().casefold() == CATCH.casefold():
            object.__setattr__(self, "game", CATCH)
        check_positive(
            num_episodes=self.num_episodes, plan_horizon=self.plan_horizon, num_plans=self.num_plans
        )
        if self.game == CATCH and (self.dream is not None or self.sticky or self.env_option):
            raise ConfigError(
                "Catch is played as it is: it has no dream, no sticky actions and no --env-option"
            )
        if (
            self.world_model == "emulator"
            and (self.game == CATCH or self.dream is not None)
            and self.needs_model
        ):
            raise ConfigError(
                "the emulator is a model of a real Atari game only; choose catch or a checkpoint"
            )
        ActionBuffer(self.action_buffer_size, self.action_buffer_threshold)
        super().__post_init__()

    @property
    def needs_model(self) -> bool:
        """Whether any variant judges plans."""
        return any(variant.model for variant in self.variants)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """What is played."""
        if self.ablation:
            return ABLATION
        names = ["plan", *["model"] * self.use_world_model, *["buffer"] * self.use_action_buffer]
        return (Variant(", ".join(names), True, self.use_world_model, self.use_action_buffer),)

    def environment(self) -> dict[str, Any]:
        """What :func:`~atari_vlm.runs.environments.make_env` needs; part of a run's config.yaml."""
        name = game_name(self.game)
        settings: dict[str, Any] = {
            "game_name": name,
            "env": {},
            "latency": None,
            "dream": self.dream,
        }
        if is_atari(name) and self.dream is None:
            sticky = self.sticky
            if sticky is None:
                sticky = 0.0 if self.world_model == "emulator" else 0.25
            settings["env"] = {"repeat_action_probability": sticky}
        elif self.sticky is not None:
            raise ConfigError(f"{name} is played as it is: it has no --sticky")
        settings["env"] |= pairs(self.env_option, "--env-option")
        return settings

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a run's config.yaml."""
        replaced = ("game", "sticky", "env_option")  # by those of the environment
        values = {name: value for name, value in plain(self).items() if name not in replaced}
        return {**self.environment(), "program": "plan", **values}


class PlanWorkshop:
    """Builds what the episodes of a run need. A checkpoint is loaded once; other models are made per environment."""

    def __init__(self, settings: PlanSettings):
        self.settings = settings
        self._worlds: Worlds | None = None
        if settings.needs_model:
            self._worlds = Worlds(settings.world_model, end_on_life_loss=settings.end_on_life_loss)
        env = self.make_env()
        try:
            if self._worlds is not None:
                self.world_model(env)  # what does not fit shows here
        finally:
            env.close()

    def make_env(self) -> Env:
        """The real game, Catch, a game of the user's own, or a dream."""
        return make_env(self.settings.environment())

    def world_model(self, env: Env) -> WorldModel[Any]:
        """The model that judges plans for ``env``; ``MismatchError`` if it is of other actions or another frame skip."""
        assert self._worlds is not None  # no variant judges plans
        return self._worlds.model(env)

    def agent(self, variant: Variant, vlm: VLM, env: Env) -> Agent:
        """A fresh agent for one episode."""
        settings, worlds = self.settings, self._worlds
        if not variant.plans:
            single = VLMAgentOptions(**shared(settings.options, VLMAgentOptions))
            return VLMAgent(vlm, prompt_type=settings.prompt_type, options=single)
        return WorldModelAgent(
            vlm,
            world_model=self.world_model(env) if variant.model else None,
            plan_horizon=settings.plan_horizon,
            num_plans=settings.num_plans,
            action_buffer=self._buffer() if variant.buffer else None,
            prompt_type=settings.prompt_type,
            options=settings.options,
            frame_source=worlds.frame_source(env) if worlds is not None else None,
        )

    def _buffer(self) -> ActionBuffer:
        return ActionBuffer(self.settings.action_buffer_size, self.settings.action_buffer_threshold)

"""A family of world models of a foreign package: linear in the pixels, one learner, no file of ours knows it."""

import dataclasses

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from atari_vlm.experience.replay import Column, picture_columns
from atari_vlm.world_models.families import Family
from atari_vlm.world_models.learned.actor_critic import actor_critic_loss
from atari_vlm.world_models.learned.arrays import (
    load_weights,
    optimizer_arrays,
    restore_optimizers,
    subtree,
    weights_of,
)
from atari_vlm.world_models.learned.heads import Categorical, ScalarValue
from atari_vlm.world_models.learned.imagination import imagine
from atari_vlm.world_models.learned.learner import Stage
from atari_vlm.world_models.learned.model import (
    LatentStep,
    LearnedOptions,
    LearnedWorldModel,
    ModelFacts,
)
from atari_vlm.world_models.learned.optimizers import apply_gradients, optimizer_for
from atari_vlm.world_models.learned.random_streams import Streams
from atari_vlm.world_models.learned.schedule import Play, PolicyGradient, TrainingSettings, Updates

FAMILY = Family(
    kind="toy",
    model="toy_family:load",
    gym_suffix="-Toy",
    policy="toy_family:load_policy",
    settings="toy_family:preset",
    learner="toy_family:ToyLearner",
    presets=("small",),
)


@dataclasses.dataclass(frozen=True)
class ToySettings(TrainingSettings):
    px: int = 20
    model: Updates = dataclasses.field(
        default_factory=lambda: Updates(learning_rate=3e-3, batch=32, steps=20)
    )
    actor: Updates = dataclasses.field(
        default_factory=lambda: Updates(learning_rate=3e-3, batch=32, steps=5)
    )


def preset(name, facts):
    return ToySettings(
        play=Play(steps=40, eval_every=1, eval_episodes=4, final_episodes=4), epochs=2, capacity=500
    )


class Nets(nn.Module):
    """The next pixels, the reward and the end are linear in pixels and action; so are policy and value in the pixels."""

    def __init__(self, px, num_actions):
        super().__init__()
        self.px, self.num_actions, size = px, num_actions, px * px * 3
        self.step = nn.Linear(size + num_actions, size + 2)
        self.head = nn.Linear(size, num_actions + 1)

    def following(self, pixels, action):
        out = self.step(
            torch.cat([pixels, functional.one_hot(action, self.num_actions).float()], -1)
        )
        return pixels + out[..., :-2], out[..., -2], out[..., -1]

    def begin(self, rows):
        return torch.zeros(rows, 1)

    def observe(self, pixels, memory):
        out = self.head(pixels)
        return Categorical(out[..., :-1]), out[..., -1:], memory

    def executed(self, action, memory):
        return memory


class ToyModel(LearnedWorldModel):
    def __init__(self, nets, facts, options):
        super().__init__(facts, options)
        self.nets = nets.to(self.place.name)
        self.observation_space = gymnasium.spaces.Box(0, 255, (nets.px, nets.px, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(nets.num_actions)

    def read(self, inputs, actions):
        return inputs[:, -1].flatten(1) / 255

    def imagine(self, state, action, *, generator):
        pixels, reward, end = self.nets.following(state, action)
        draw = torch.rand(end.shape, generator=generator, device=end.device)
        return LatentStep(pixels.clamp(0, 1), reward, draw < end.sigmoid())

    def features(self, state):
        return state

    def show(self, state):
        return (state * 255).round().byte().view(-1, self.nets.px, self.nets.px, 3)


class ToyPolicy:
    def __init__(self, nets):
        self.actor, self.action_space = nets, gymnasium.spaces.Discrete(nets.num_actions)
        self.inputs = {"image": Column((nets.px, nets.px, 3), "uint8")}

    def begin(self, rows):
        return self.actor.begin(rows)

    @torch.no_grad()
    def act(self, observations, state, *, generator, temperature=1.0):
        pixels = torch.from_numpy(np.ascontiguousarray(observations["image"])).flatten(1) / 255
        return self.actor.observe(pixels, state)[0].sample(generator, temperature).numpy(), state

    def executed(self, actions, state):
        return state

    def actor_memory(self, state):
        return state


class ToyLearner:
    kind = "toy"

    def __init__(self, settings, facts, workplace):
        self.settings, self.facts, self.team = settings, facts, workplace.team
        self.replay = workplace.open_replay(picture_columns((settings.px, settings.px, 3)))
        torch.manual_seed(workplace.seed)
        self.nets = Nets(settings.px, int(facts.action_space.n))
        parts = {"model": self.nets.step, "actor": self.nets.head}
        self.stages = [Stage(name, getattr(settings, name)) for name in parts]
        self.optimizers = {
            name: optimizer_for(part, getattr(settings, name)) for name, part in parts.items()
        }
        self.streams = Streams(workplace.seed, self.team.rank, "cpu", 7)

    def update(self, stage):
        loss = {"model": self.model_loss, "actor": self.actor_loss}[stage](
            self.replay, self.streams.rng
        )
        loss.backward()
        norm = apply_gradients(
            self.optimizers[stage], getattr(self.settings, stage).max_norm, self.team
        )
        return {"loss": float(loss.detach()), "grad_norm": norm}

    def model_loss(self, replay, rng):
        segments = replay.segments(32, 2, rng, least=2)
        now, after = (
            torch.from_numpy(replay.read("image", segments.slots[:, t])).flatten(1) / 255
            for t in (0, 1)
        )
        action, reward, end = (
            torch.from_numpy(replay.read(name, segments.slots[:, 0]))
            for name in ("action", "reward", "terminated")
        )
        pixels, payed, ended = self.nets.following(now, action)
        goes_on = torch.from_numpy(segments.mask[:, 1]).float()
        missed = ((pixels - after) ** 2).mean(-1) * goes_on
        return (
            missed.mean()
            + ((payed - reward) ** 2).mean()
            + functional.binary_cross_entropy_with_logits(ended, end.float())
        )

    def actor_loss(self, replay, rng):
        start = torch.from_numpy(replay.read("image", replay.any_slots(32, rng))).flatten(1) / 255
        model = self.world_model()
        imagined = imagine(
            model, start, self.nets, self.nets.begin(32), steps=4, generator=self.streams.generator
        )
        return actor_critic_loss(imagined, ScalarValue(), PolicyGradient()).total

    def policy(self):
        return ToyPolicy(self.nets)

    def world_model(self, temperature=1.0):
        facts = ModelFacts(self.facts.action_names, self.facts.frame_skip, "none")
        return ToyModel(self.nets, facts, LearnedOptions(temperature=temperature))

    def dreams(self, epoch):
        return True

    @torch.no_grad()
    def held_out(self, replay, epoch):
        return {"loss": float(self.model_loss(replay, np.random.default_rng(epoch)))}

    def config(self):
        return {
            "reward_transform": "none",
            "px": self.settings.px,
            "num_actions": self.nets.num_actions,
        }

    def weights(self):
        return weights_of({"nets": self.nets})

    def arrays(self):
        streams = {f"streams.{name}": array for name, array in self.streams.arrays().items()}
        return self.weights() | optimizer_arrays(self.optimizers) | streams

    def restore(self, arrays):
        load_weights({"nets": self.nets}, arrays)
        restore_optimizers(self.optimizers, arrays)
        self.streams.restore(subtree(arrays, "streams"))

    def warm_start(self, arrays, parts):
        load_weights({"nets": self.nets}, arrays, parts or None)


def nets_of(checkpoint):
    nets = Nets(checkpoint.config["px"], checkpoint.config["num_actions"])
    load_weights({"nets": nets}, checkpoint.tensors)
    return nets


def load(checkpoint, **options):
    return ToyModel(nets_of(checkpoint), ModelFacts.of(checkpoint), LearnedOptions.of(options))


def load_policy(checkpoint, device="cpu"):
    return ToyPolicy(nets_of(checkpoint))

"""Small tuning runs as trainers, and what a checkpoint of theirs holds: imitation and reinforcement of pixel Catch."""

from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import parse_games
from atari_vlm.runs.progress import Quiet
from atari_vlm.training.tuning.bases import load_base
from atari_vlm.training.tuning.rl import ReinforcementRun, ReinforcementTrainer
from atari_vlm.training.tuning.sft import ImitationTrainer, Lessons, TuningRun
from atari_vlm.training.tuning.sources import TeachingConfig, played_episodes
from atari_vlm.training.tuning.turns import PlayedGame
from atari_vlm.vlm.local.adapter import AdapterCard, prompt_version_of
from atari_vlm.vlm.local.options import LocalOptions


class Silent(Quiet):
    """Says nothing."""

    def say(self, message):
        pass


def qwen(folder, load_in=None, dtype="auto"):
    """A base that nothing was put into yet."""
    options = LocalOptions(device="cpu", offline=True, load_in=load_in, dtype=dtype)
    return load_base("qwen-vl", folder, options)


def catch_lessons():
    """Two episodes to learn from, one held out."""
    teaching = TeachingConfig(episodes=2, held_out=1)
    return Lessons.of(list(played_episodes("scripted", parse_games("Catch"), teaching)))


def imitation(base, lessons, folder, method, updates, **more):
    """A round is an update, unless ``more`` says otherwise."""
    more = {"seed": 5, "eval_every": 1, "progress": Silent(), **more}
    return ImitationTrainer(TuningRun(folder, base, lessons, method, updates, _card(base), **more))


def reinforcement(base, folder, updates, ppo, games=("Catch",), **more):
    """Evaluated and saved after every iteration, unless ``more`` says otherwise."""
    played = tuple(
        PlayedGame(name, lambda name=name: make_env({"game_name": name})) for name in games
    )
    usual = {"max_steps": 50, "eval_every": 1, "eval_episodes": 1}
    more = {"seed": 5, "progress": Silent(), **usual, **more}
    run = ReinforcementRun(*(folder, base, "lora", updates, ppo, _card(base), played), **more)
    return ReinforcementTrainer(run)


def _card(base):
    known = (base.family, base.model, base.model_type, base.weights)
    return AdapterCard(*known, "basic", prompt_version_of("basic"), ("Catch",), 5)

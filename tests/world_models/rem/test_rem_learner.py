"""REM's updates: what is remembered, what imagination begins from, what the caches do."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from rem_helpers import GAME, NETWORKS, facts, rem_learner, toy_settings
from replay_helpers import picture_replay, with_helpers

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.experience.replay import Column
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.collection import Collector, Exploring
from atari_vlm.training.imagination.games import LOST_LIFE, GameConfig, facts_of, make_game
from atari_vlm.training.imagination.playing import Playing, play_games
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.perceptual import Lpips
from atari_vlm.world_models.learned.random_streams import pack_rng, unpack_rng
from atari_vlm.world_models.learned.schedule import Updates
from atari_vlm.world_models.rem.losses import revealed_tokens
from atari_vlm.world_models.rem.networks import StartStates
from atari_vlm.world_models.rem.policy import RemPolicy, burned_in
from atari_vlm.world_models.rem.settings import TokenizerTraining, preset


def learner_with_play(steps=60, epsilon=0.5, **changes):
    settings = toy_settings(**changes)
    replay = picture_replay(100, 16)
    learner = rem_learner(settings, replay)
    policy = RemPolicy(learner.networks.tokenizer, learner.networks.actor)
    collector = Collector([make_game(GameConfig(GAME), policy.inputs)], policy, seed=0)
    collector.collect(
        steps, replay, Exploring(epsilon, 1.0), (learner.streams.rng, learner.streams.generator)
    )
    return learner, collector


def test_the_executed_action_is_remembered_and_told():
    learner, collector = learner_with_play(0)
    executed, told = [], []
    (game,), policy = collector.lanes.games, collector.lanes.policy
    step, tell = game.step, policy.executed
    game.step = lambda action: (executed.append(action), step(action))[1]
    policy.executed = lambda actions, state: (told.append(int(actions[0])), tell(actions, state))[1]
    policy.act = lambda observations, state, **_: (np.array([0]), state)
    collector.collect(
        40, learner.replay, Exploring(1.0, 1.0), (learner.streams.rng, learner.streams.generator)
    )
    remembered = learner.replay.read("action", np.arange(40)).tolist()
    assert remembered == executed == told and set(remembered) == {0, 1, 2}


def test_burn_in_over_a_history_is_the_memory_of_live_play():
    learner, collector = learner_with_play(0)
    tokenizer, actor = learner.networks.tokenizer, learner.networks.actor
    policy, frames, actions = collector.lanes.policy, [], []
    rng = np.random.default_rng(0)
    state = policy.begin(1)
    for _ in range(5):
        frames.append(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        _, state = policy.act(
            {"image": frames[-1][None]}, state, generator=learner.streams.generator
        )
        actions.append(int(rng.integers(3)))
        state = policy.executed(np.array(actions[-1:]), state)
    tokens = tokenizer.encode(torch.from_numpy(np.stack(frames)))[None]
    padded = torch.cat(
        [torch.full((1, 3, 16), 5), tokens], 1
    )  # padding on the left leaves no trace
    mask = torch.tensor([[False] * 3 + [True] * 5])
    memory = burned_in(actor, tokenizer, padded, torch.tensor([[2, 1, 0, *actions]]), mask)
    assert all((a - b).abs().max() < 1e-6 for a, b in zip(memory, state, strict=True))
    without = burned_in(actor, tokenizer, padded, torch.zeros(1, 8, dtype=torch.long), mask)
    assert (without[0] - memory[0]).abs().max() > 1e-4  # the actions count


def test_a_horizon_of_ten_has_nine_decisions_of_which_eight_are_scored():
    learner, _ = learner_with_play()
    training = dataclasses.replace(learner.settings.actor_critic, horizon=10)
    learner.settings = dataclasses.replace(learner.settings, actor_critic=training)
    looks = []
    actor = learner.networks.actor
    observe = actor.observe
    starts = learner.start_states(4)
    burned = starts.tokens.shape[1] - 1
    actor.observe = lambda picture, memory: (looks.append(1), observe(picture, memory))[1]
    imagined = learner.imagine(starts)
    assert len(looks) - burned == 9
    assert imagined.policies.logits.shape == (4, 8, 3) and imagined.outputs.shape == (4, 9, 1)


def test_the_world_is_drawn_at_the_temperature_that_was_set():
    learner, _ = learner_with_play(
        actor_critic=dataclasses.replace(toy_settings().actor_critic, imagine_temperature=0.0)
    )
    drawn = []
    settle = learner.networks.world_model.settle
    learner.networks.world_model.settle = lambda logits, *rest: (
        drawn.append((logits, settle(logits, *rest))),
        drawn[-1][1],
    )[1]
    learner.improve_actor_critic()
    assert drawn and all(torch.equal(tokens, logits.argmax(-1)) for logits, tokens in drawn)
    training = dataclasses.replace(
        learner.settings.actor_critic, imagine_temperature=50.0, horizon=6
    )
    learner.settings = dataclasses.replace(learner.settings, actor_critic=training)
    ends = learner.imagine(learner.start_states(20)).ends
    assert ends.float().mean() == pytest.approx(0.5, abs=0.2)
    with pytest.raises(ConfigError, match="imagine_temperature"):
        dataclasses.replace(toy_settings().actor_critic, imagine_temperature=-1.0)


def test_imagination_does_not_see_padding():
    learner, _ = learner_with_play()
    moments = learner.start_states(40)
    for head in (learner.networks.actor.policy_head, learner.networks.actor.value_head):
        torch.nn.init.normal_(head.weight)  # begins as zeros: nothing would be seen
    other = StartStates(
        torch.where(moments.mask[..., None], moments.tokens, 3),
        torch.where(moments.mask, moments.actions, 1),
        moments.mask,
    )
    outputs = []
    for starts in (moments, other):
        learner.streams.generator.manual_seed(1)
        outputs.append(learner.imagine(starts).outputs)
    first, second = outputs
    assert torch.equal(first, second) and not moments.mask.all() and first.std() > 0.01


def test_every_network_improves_on_what_it_is_given():
    learner, _ = learner_with_play()
    first = [learner.improve_tokenizer()["total"] for _ in range(40)]
    assert np.mean(first[-5:]) < 0.9 * np.mean(first[:5])
    losses = [learner.improve_world_model()["total"] for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    assert np.isfinite(list(learner.improve_actor_critic().values())).all()


def test_codes_begin_at_frames_after_the_warm_up():
    updates = Updates(batch=6, micro_batch=4, steps=2)
    learner, _ = learner_with_play(
        tokenizer=TokenizerTraining(updates, restart_unused=9, codes_from_batch=True, warm_up=3)
    )
    tokenizer = learner.networks.tokenizer
    first = tokenizer.codes.weight.detach().clone()
    warm = [learner.improve_tokenizer() for _ in range(2)]
    assert torch.equal(tokenizer.codes.weight, first) and not any(
        "restarted_codes" in found for found in warm
    )
    begun = learner.improve_tokenizer()
    assert begun["commitment"] == 0 and begun["restarted_codes"] > 3
    frames = torch.from_numpy(learner.replay.read("image", np.arange(len(learner.replay))))
    vectors = tokenizer.encoder(tokenizer.to_float(frames)).permute(0, 2, 3, 1).flatten(0, 2)
    moved = (tokenizer.codes.weight != first).any(1)
    assert moved.sum() == begun["restarted_codes"]
    assert torch.cdist(tokenizer.codes.weight[moved], vectors).min(1).values.max() < 1e-3
    assert learner.improve_tokenizer()["commitment"] > 0
    with pytest.raises(ConfigError, match="warm_up"):
        TokenizerTraining(updates, warm_up=3)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("world_model", {"refinement_passes": 1}),
        ("world_model", {"reward": "two-hot", "decay_unit": "block"}),
        ("actor_critic", {"value": "two-hot"}),
        ("actor_critic", {"view": "pixel"}),
    ],
    ids=str,
)
def test_every_switch_trains(part, change):
    networks = dataclasses.replace(
        NETWORKS, **{part: dataclasses.replace(getattr(NETWORKS, part), **change)}
    )
    learner, _ = learner_with_play(networks=networks)
    before = {name: array.copy() for name, array in learner.weights().items()}
    for improve in (
        learner.improve_tokenizer,
        learner.improve_world_model,
        learner.improve_actor_critic,
    ):
        assert np.isfinite(list(improve().values())).all()
    moved = {
        name.split(".")[0]
        for name, array in learner.weights().items()
        if not np.array_equal(array, before[name])
    }
    assert moved == {"tokenizer", "world_model", "actor_critic"}


def test_bf16_trains_close_to_f32():
    found = []
    for precision in ("f32", "bf16"):
        learner, _ = learner_with_play()
        learner.device = Device("cpu", precision)
        found.append(learner.improve_world_model()["total"])
    assert abs(found[0] - found[1]) < 0.02 * found[0] and found[0] != found[1]


def test_revealed_tokens_are_the_true_ones():
    tokens = torch.arange(12).expand(50, 4, 12)
    known = revealed_tokens(tokens, torch.Generator().manual_seed(0))
    assert ((known == tokens) | (known == -1)).all()
    shown = (known >= 0).float().mean(-1)
    assert 0.35 < (shown == 0).float().mean() < 0.7 and shown.max() > 0.8


def test_frames_are_encoded_once_per_tokenizer_version():
    learner, _ = learner_with_play()
    encoded = []
    encode = learner.networks.tokenizer.encode
    learner.networks.tokenizer.encode = lambda frames: (
        encoded.append(len(frames)),
        encode(frames),
    )[1]
    slots = learner.replay.segments(20, 5, np.random.default_rng(0)).slots
    first, again = learner._tokens(slots), learner._tokens(slots)
    assert torch.equal(first, again) and sum(encoded) == len(np.unique(slots))
    assert torch.equal(first, encode(torch.from_numpy(learner.replay.read("image", slots))))
    learner.version += 1
    learner._tokens(slots)
    assert sum(encoded) == 2 * len(np.unique(slots))


def test_random_state_survives_packing():
    rng = np.random.default_rng(3)
    rng.integers(10, size=3, dtype=np.int32)
    other = unpack_rng(pack_rng(rng))
    assert np.array_equal(
        rng.integers(1000, size=9, dtype=np.int32), other.integers(1000, size=9, dtype=np.int32)
    )


def test_atari_sums_rewards_reports_lost_lives_and_cuts_at_its_limit():
    game = make_game(
        GameConfig("Breakout", max_noops=1, max_steps=200), {"image": Column((64, 64, 3), "uint8")}
    )
    assert game.facts.frame_skip == 4 and game.facts.action_names == (
        "NOOP",
        "FIRE",
        "RIGHT",
        "LEFT",
    )
    shown, info = game.reset(seed=7)
    lost = 0
    for step in range(1, 201):
        assert shown["image"].shape == (64, 64, 3) and shown["image"].dtype == np.uint8
        shown, _, terminated, truncated, info = game.step(1 if step % 3 == 1 else 3)
        lost += info[LOST_LIFE]
        assert not terminated and truncated == (step == 200)
    assert lost >= 1
    starts, game = set(), make_game(GameConfig("Breakout", max_noops=30))
    for seed in range(6):
        game.reset(seed=seed)
        starts.add(game.get_wrapper_attr("noops"))
    assert len(starts) > 2 and min(starts) >= 1 and max(starts) <= 30


def test_same_seed_same_games():
    learner, _ = learner_with_play(0)
    policy = RemPolicy(learner.networks.tokenizer, learner.networks.actor)
    runs = [
        play_games(
            lambda: make_game(GameConfig(GAME), policy.inputs),
            policy,
            [1, 3, 5],
            Playing(torch.Generator().manual_seed(0), 1.0, lanes),
        )
        for lanes in (2, 2)
    ]
    assert runs[0] == runs[1] and len(runs[0].returns) == 3 and runs[0].lengths == [8, 8, 8]


def test_bad_input_is_refused_with_a_sentence(tmp_path):
    for game in ("Pendulum-v1", "CartPole-v1"):
        with pytest.raises(
            ConfigError, match=f"one RGB picture .* discrete actions; {game} shows state float32"
        ):
            preset("tiny", facts_of(game))
    with pytest.raises(UnknownNameError, match="horizon"):
        with_changes(preset("tiny", facts()), {"actor_critic": {"horizont": 3}})
    with pytest.raises(ConfigError, match="of type int"):
        with_changes(preset("rem", facts()), {"epochs": "many"})
    with pytest.raises(ConfigError, match="no device"):
        Device("quantum")
    (tmp_path / "weights").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="LPIPS"):
        Lpips(tmp_path / "weights")


def test_lpips_from_a_local_file(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    weights, wide, index = {}, 3, 0
    for stage, widths in enumerate(Lpips.WIDTHS):
        index += stage > 0
        for width in widths:
            weights[f"features.{index}.weight"] = (
                torch.randn(width, wide, 3, 3) * (2 / (9 * wide)) ** 0.5
            )
            weights[f"features.{index}.bias"] = torch.zeros(width)
            wide, index = width, index + 2
        weights[f"lin{stage}"] = torch.rand(wide)
    assert index == 30  # VGG16's last ReLU is features.29
    save_file(weights, tmp_path / "lpips.safetensors")
    distance = Lpips(tmp_path / "lpips.safetensors")
    a = torch.rand(2, 3, 32, 32) * 2 - 1
    near, far = distance(a + 0.02 * torch.randn_like(a), a), distance(torch.rand_like(a), a)
    assert distance(a, a) == 0 and 0 < near < far
    del weights["lin3"]
    save_file(weights, tmp_path / "short.safetensors")
    with pytest.raises(ConfigError, match="lin3"):
        Lpips(tmp_path / "short.safetensors")


MEASURED = """
import resource, numpy as np, torch
from atari_vlm.world_models.rem.settings import preset
from rem_helpers import facts, rem_learner
from replay_helpers import add_step, picture_replay
torch.set_num_threads(1)
replay = picture_replay(400, 64)
for n in range(300):
    add_step(replay, np.zeros((64, 64, 3), np.uint8), n % 4, 0.0, n % 100 == 99, False)
settings = preset("rem", facts(4))
assert settings.world_model.updates.batch == 64
rem_learner(settings, replay).improve_world_model()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
"""


@pytest.mark.slow
def test_memory_of_a_world_model_update_at_batch_64():
    done = subprocess.run(
        [sys.executable, "-c", MEASURED],
        capture_output=True,
        text=True,
        check=True,
        env=with_helpers(),
    )
    assert float(done.stdout) < 8.0  # GB, everything included

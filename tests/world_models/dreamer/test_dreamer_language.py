"""A Dreamer that reads and tells texts: the protocol, what is told at which step, and that words reach everything they should."""

import json
import shutil

import numpy as np
import pytest
import torch
from dreamers import STATE, TWO, facts_of, settings_of, small
from gymnasium.spaces import Dict, Text

from atari_vlm.actions import random_actions
from atari_vlm.checker import check_learner, check_world_model
from atari_vlm.errors import UnknownNameError
from atari_vlm.experience.replay import Replay
from atari_vlm.trees import texts
from atari_vlm.world_models import CueWorldModel
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.cue import DOORS
from atari_vlm.world_models.dreamer.config import (
    CoreConfig,
    KeysConfig,
    LanguageConfig,
    LoraConfig,
)
from atari_vlm.world_models.dreamer.learner import make_learner
from atari_vlm.world_models.dreamer.learning import read, world_model_losses
from atari_vlm.world_models.dreamer.model import load, new_model
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import Workplace
from atari_vlm.world_models.learned.team import Team

SAYS = ("go left", "go right", "", "", "stop")
SPACE = Dict({"joints": STATE, "text": Text(8), "hint": Text(8)})
WORDS = LanguageConfig("words", words=("go", "left", "right", "stop"), width=8)
KINDS = {
    "bytes": {"language": LanguageConfig(longest=8, width=8)},
    "words": {"language": WORDS},
    "two tokens": {"language": LanguageConfig("words", WORDS.words, tokens=2, width=4)},
    "at once": {"language": LanguageConfig("words", WORDS.words, at_once=True, longest=3, width=8)},
    "observation": {"language": WORDS, "posterior": "observation"},
    "mamba": {
        "language": WORDS,
        "posterior": "observation",
        "core": CoreConfig("mamba", 4, {"width": 16, "layers": 1}),
    },
    "fused mamba": {"language": WORDS, "core": CoreConfig("mamba", 1, {"width": 8, "layers": 1})},
}


def config_of(**changes):
    return small(text_keys=KeysConfig(("text",)), **changes)


def model_of(**changes):
    return new_model(config_of(**changes), SPACE, TWO, seed=0)


def contexts(rows=4, length=3, seed=0, vector="joints"):
    """Contexts whose texts are drawn from what is said."""
    rng = np.random.default_rng(seed)
    drawn = texts([SAYS[i] for i in rng.integers(len(SAYS), size=rows * length)])
    observations = {
        vector: rng.normal(size=(rows, length, 3)).astype(np.float32),
        "text": drawn.reshape(rows, length),
    }
    return StartFrames(observations, rng.integers(3, 5, size=(rows, length - 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_protocol(kind):
    model = model_of(**KINDS[kind])
    assert set(model.observation_space.spaces) == {"joints", "text"}
    check_world_model(model, contexts(), steps=3)


def test_what_was_told_is_in_the_state_a_token_a_step():
    model = model_of(language=WORDS)
    rng = np.random.default_rng(0)
    said = texts(["go left", "", "", "stop", "stop"]).reshape(1, 5)
    told = []
    for length in range(1, 6):
        seen = {"joints": np.zeros((1, length, 3), np.float32), "text": said[:, :length]}
        state = model.init(seen, np.full((1, length - 1), 3), rng=rng)
        told += model.imagined_text(state)
        assert model.decode(state)["text"].tolist() == told[-1:]
    assert told == ["go", "left", "", "stop", ""]


@torch.no_grad()
def test_what_is_read_changes_everything_after_it():
    model = model_of(language=WORDS)
    rng = np.random.default_rng(0)
    states = []
    for text in ("left", "right"):
        seen = {"joints": np.zeros((1, 1, 3), np.float32), "text": texts([text])[None]}
        states.append(model.init(seen, np.zeros((1, 0), int), rng=rng))
    posteriors = [
        model.networks.rssm.seen(
            s.h, model.networks.embed({"joints": torch.zeros(1, 3)}, s.language["ids"])
        )
        for s in states
    ]
    assert (posteriors[0] - posteriors[1]).abs().max() > 1e-4
    same = [s.__class__(s.core, s.h, states[0].z, s.language) for s in states]  # one z for both
    priors = [model.prior_logits(state, np.array([3])) for state in same]
    assert np.abs(priors[0] - priors[1]).max() > 1e-4  # the word itself, not only z, goes on


def test_words_that_are_read_and_not_shown_are_silent_in_dreams():
    model = new_model(
        small(text_keys=KeysConfig(("text",), ()), language=WORDS), SPACE, TWO, seed=0
    )
    start, rng = contexts(), np.random.default_rng(0)
    state = model.init(start.observations, start.actions, rng=rng)
    after = model.step(state, np.full(4, 3), rng=rng).state
    assert model.imagined_text(after) == [""] * 4 and model.networks.words.head is None


def test_texts_are_off_where_nobody_wants_them():
    off = new_model(small(text_keys=KeysConfig((), ())), SPACE, TWO, seed=0)
    assert off.networks.words is None and not hasattr(off, "imagined_text")
    with pytest.raises(UnknownNameError, match=r"text_keys.encoder.*'words'"):
        new_model(small(text_keys=KeysConfig(("words",))), SPACE, TWO, seed=0)


def test_two_texts_are_read_as_one():
    config = small(text_keys=KeysConfig(("text", "hint")), language=WORDS)
    words = new_model(config, SPACE, TWO, seed=0).networks.words
    state = words.begin(2)
    heard = words.hear({"text": texts(["go", ""]), "hint": texts(["left", "stop"])}, state)
    assert words.said(heard) == ["go", "stop"]
    silent = {"text": texts(["", ""]), "hint": texts(["", ""])}
    assert words.said(words.hear(silent, heard)) == ["left", ""]


def learner_of(networks, steps=80, seed=0):
    """A learner that saw random play of a game that says something now and then."""
    facts = facts_of(SPACE, TWO)
    workplace = Workplace(
        lambda columns, *, arrivals=False: Replay(columns, 500, arrivals=arrivals),
        Device(),
        Team(),
        seed,
    )
    learner = make_learner(settings_of(facts, networks), facts, workplace)
    rng = np.random.default_rng(0)
    actions = random_actions(TWO, (steps,), rng)
    for t in range(steps):
        ended = {"terminated": t % 7 == 6, "truncated": False}
        step = {**shown(rng), "action": actions[t], "reward": float(rng.integers(3)), **ended}
        learner.replay.add(step, after=shown(rng))
    return learner


def shown(rng, said=None):
    text = (SAYS[rng.integers(len(SAYS))] if said is None else said).encode()
    length = facts_of(SPACE, TWO).inputs["text"].shape[0]
    stored = np.frombuffer(text.ljust(length, b"\0"), np.uint8).copy()
    return {"state": rng.normal(size=3).astype(np.float32), "text": stored}


@pytest.mark.parametrize("kind", ["words", "at once", "mamba"])
def test_a_learner_with_language_keeps_its_contract(kind):
    networks = config_of(**KINDS[kind])
    check_learner(lambda workplace: learner_in(networks, workplace))


def learner_in(networks, workplace):
    facts = facts_of(SPACE, TWO)
    return make_learner(settings_of(facts, networks), facts, workplace)


def test_every_part_of_the_language_learns_and_is_counted():
    learner = learner_of(config_of(language=WORDS))
    batch = learner._batch(learner.replay, 3, np.random.default_rng(0))
    assert batch.ids.shape == (3, 5, 1) and "text" not in batch.inputs
    reading = read(learner.networks, batch, None, 2)
    losses = world_model_losses(learner.networks, batch, reading, 1.0)
    losses["reconstruction"].backward()
    language = [
        (name, p)
        for name, p in learner.networks.named_parameters()
        if "words" in name or "language" in name
    ]
    assert len(language) > 5
    assert all(p.grad is not None and p.grad.any() for _, p in language), language
    metrics = learner.update("dreamer")
    assert np.isfinite(metrics["loss"])


def test_ids_of_a_batch_are_those_of_its_texts():
    learner = learner_of(config_of(language=WORDS))
    batch = learner._batch(learner.replay, 3, np.random.default_rng(1))
    words = learner.networks.words
    stored = learner.replay.read("text", batch.slots)
    for row in range(3):
        for t in range(5):
            text = stored[row, t].tobytes().rstrip(b"\0").decode()
            if text and batch.ids[row, t, 0] != words.table.pad:
                said = words.telling.said(batch.ids[row, t][None].numpy())[0]
                assert said in text or t  # new texts begin at once, others go on
    first = batch.latent.language["ids"]
    assert first.shape == (3, 1)


@pytest.mark.parametrize("kind", ["bytes", "two tokens", "at once"])
def test_a_sequence_goes_on_telling_what_was_begun_before_it(kind):
    learner = learner_of(config_of(**KINDS[kind]), steps=0)
    rng, replay, words = np.random.default_rng(0), learner.replay, learner.networks.words
    for t in range(90):
        said = ("", "", "", "", "go left", "stop")[rng.integers(6)]
        ended = {"terminated": t % 13 == 12, "truncated": False}
        step = {**shown(rng, said), "action": 3, "reward": 0.0, **ended}
        replay.add(step, after=shown(rng, said))
    kept = replay.kept()
    is_first = np.isin(np.arange(len(kept)), replay.bounds()[0])
    whole = words.read({"text": replay.read("text", kept)[None]}, is_first[None])[0]
    batch = learner._batch(replay, 30, rng)
    assert torch.equal(batch.ids, whole[batch.slots])
    assert torch.equal(batch.latent.language["ids"], whole[batch.slots[:, 0] - 1])
    alone = words.read(
        {"text": replay.read("text", batch.slots)}, np.zeros(batch.slots.shape, bool)
    )
    assert torch.equal(batch.ids, alone) == (kind == "at once")


def test_the_cue_games_words_reach_a_dream():
    """Spaces, contexts and texts of the exact game fit as they are."""
    cue = CueWorldModel(2, cell_px=4)
    config = small(language=LanguageConfig("words", DOORS, width=8), frame_px=16)
    model = new_model(config, cue.observation_space, cue.action_space, seed=0)
    state = model.init(cue.start.observations, cue.start.actions, rng=np.random.default_rng(0))
    assert model.imagined_text(state) == list(DOORS)
    check_world_model(model, cue.start, steps=3)


@pytest.fixture
def language_model(tmp_path):
    """A small Mamba of transformers in a folder, with a tokenizer of bytes."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        hidden_size=16, num_hidden_layers=2, vocab_size=300, state_size=4
    )
    folder = tmp_path / "model"
    transformers.MambaForCausalLM(config).save_pretrained(folder)
    alphabet = {
        sign: n for n, sign in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    }
    made = tokenizers.Tokenizer(tokenizers.models.BPE(alphabet, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("seq_len", [1, 4])
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, targets=("in_proj", "dt_proj"))])
def test_a_pretrained_core_needs_its_folder_once(language_model, seq_len, lora):
    core = CoreConfig("mamba", seq_len, {"from_pretrained": str(language_model), "layers": 1}, lora)
    language = LanguageConfig(str(language_model))
    learner = learner_of(config_of(deter=16, core=core, language=language, posterior="observation"))
    words = learner.networks.words
    assert words.beside_core and words.table.table.weight.shape == (257, 16)
    named = dict(learner.networks.rssm.core.named_parameters())
    frozen = {name for name, parameter in named.items() if not parameter.requires_grad}
    assert any("A_log" in name for name in frozen) == (lora is not None)
    learner.update("dreamer")
    config = {
        "action_names": ["3", "4"],
        "frame_skip": 1,
        **json.loads(json.dumps(learner.config())),
    }
    shutil.rmtree(language_model)
    loaded = load(Checkpoint("dreamer", config, learner.weights()))
    start, rng = contexts(vector="state"), np.random.default_rng(0)
    ours = learner.world_model().init(start.observations, start.actions, rng=rng)
    theirs = loaded.init(start.observations, start.actions, rng=rng)
    assert torch.equal(ours.h, theirs.h) and torch.equal(ours.z, theirs.z)
    assert loaded.imagined_text(theirs) == learner.world_model().imagined_text(ours)

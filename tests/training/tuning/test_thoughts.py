"""Thoughts in reinforcement: their objective by hand, the same numbers as where they are drawn, and runs with them."""

import dataclasses
import json

import numpy as np
import pytest
import tuning_helpers as helpers

from atari_vlm import load_vlm
from atari_vlm.agents import VLMAgent
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import AtariVLMError, NotSupportedError
from atari_vlm.runs.environments import make_env
from atari_vlm.training.tuning.rl import ReinforcementTrainer
from atari_vlm.training.tuning.thoughts import ThinkingConfig, Thought
from atari_vlm.training.tuning.turns import Lane
from atari_vlm.tune import main
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local.adapter import load_weights, read_adapter
from atari_vlm.vlm.local.choices import ChoiceTree
from atari_vlm.vlm.local.sampling import TokenSampler

torch = pytest.importorskip("torch")

from atari_vlm.training.tuning.bases import load_base  # noqa: E402
from atari_vlm.training.tuning.learner import UpdateConfig  # noqa: E402
from atari_vlm.training.tuning.playing import play_turns  # noqa: E402
from atari_vlm.training.tuning.ppo import PPOConfig, Turns, thought_loss  # noqa: E402
from atari_vlm.training.tuning.stating import state_reader  # noqa: E402
from atari_vlm.training.tuning.thinking import ThinkingLearner  # noqa: E402
from atari_vlm.vlm.local.options import LocalOptions  # noqa: E402

END, LEFT, RIGHT = 0, 1, 2  # the whole vocabulary
TOKENS = 12
SMALL = (
    *("--game", "Catch", "--iterations", "3", "--envs", "2", "--steps", "3", "--minibatch", "4"),
    *("--eval-every", "2", "--eval-episodes", "1", "--seed", "1", "--threads", "1"),
    *("--device", "cpu", "--kl", "0.1", "--prompt-type", "cot", "--max-steps", "3"),
    *("--reasoning", "--reasoning-tokens", str(TOKENS)),
)


def rl(folder, name, *words):
    return main(["rl", *SMALL, "--save-dir", str(folder), "--run-name", name, *words])


def catch(seed=0):
    options = VLMAgentOptions(answer="thoughts")
    return Lane(make_env({"game_name": "Catch"}), "cot", options, lambda n: seed + n, 20)


@pytest.fixture(scope="module")
def learner_of(bases):
    """``learner_of(**constants)``: low-rank layers on a tiny base that write at most ``TOKENS`` tokens."""

    def make(kind=ThinkingLearner, thinking=None, **constants):
        base = load_base("qwen-vl", bases("qwen2-vl"), LocalOptions(device="cpu", offline=True))
        config = UpdateConfig(updates=8, learning_rate=3e-3)
        thinking = thinking or ThinkingConfig(TOKENS)
        return kind(base, "lora", config, PPOConfig(**constants), thinking=thinking)

    return make


@pytest.fixture(scope="module")
def run(bases, tmp_path_factory):
    """A finished run of two iterations and what it was started with."""
    folder = tmp_path_factory.mktemp("thinking")
    words = ("--base", "qwen-vl", "--model", bases("qwen2-vl"), "--state-reward", "0.5")
    assert rl(folder, "whole", *words) == 0
    return folder / "whole", words


@pytest.mark.parametrize("clip", [0.05, 5.0])
def test_the_gradient_of_two_tokens_equals_one_by_hand(clip):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 3, 3)).astype(
        np.float32
    )  # thoughts; behind the prompt and each token
    ids, config = [(LEFT, RIGHT), (RIGHT, RIGHT), (RIGHT,)], PPOConfig(clip=clip, kl=0.1)
    then = [np.log(rng.uniform(0.2, 0.8, 2)) for _ in ids]
    first = [np.log(rng.uniform(0.2, 0.8, 2)) for _ in ids]
    thoughts = [
        Thought(row, len(row) == 1, "", (), old, base)
        for row, old, base in zip(ids, then, first, strict=True)
    ]
    advantages = np.array([1.5, -0.7, 0.4])
    given = torch.from_numpy(logits).requires_grad_()
    words = []
    for row, thought in zip(given, thoughts, strict=True):
        scores = ChoiceTree.of([thought.ids]).words(row, [END])
        words.append(torch.cat([scores.tokens, scores.ends[: int(thought.ended)]]))
    loss, parts = thought_loss(words, thoughts, advantages, config)
    loss.backward()
    wanted = np.zeros_like(logits, np.float64)
    for b, thought in enumerate(thoughts):
        drawn = [*thought.ids, END] if thought.ended else thought.ids
        assert len(drawn) == len(thought) == 2
        for place, token in enumerate(drawn):
            z = logits[b, place].astype(np.float64)
            softmax = np.exp(z) / np.exp(z).sum()
            ratio, a = softmax[token] / np.exp(then[b][place]), advantages[b]
            free = ratio * a <= np.clip(ratio, 1 - clip, 1 + clip) * a
            towards = -a * ratio * free  # of the clipped ratio
            towards += 0.1 * (1 - np.exp(first[b][place]) / softmax[token])  # of the distance
            wanted[b, place] = towards * (np.eye(3)[token] - softmax) / 2 / 3
    np.testing.assert_allclose(given.grad.numpy(), wanted, atol=1e-6)
    assert parts["thought_kl"] > 0 and (parts["thought_clipped"] == 0) == (clip == 5)


def test_what_is_learned_from_is_what_was_drawn(learner_of, monkeypatch):
    """Log-probabilities where tokens are drawn, one by one, and in the one pass that gradients flow through."""
    learner, seen = learner_of(kl=0.1), {}
    draw = TokenSampler.draw

    def noting(sampler, logits):
        token = draw(sampler, logits)
        values = logits.astype(np.float64) - logits.max()
        seen.setdefault(sampler, []).append(values[token] - np.log(np.exp(values).sum()))
        return token

    lanes = [catch(seed) for seed in range(4)]
    lanes[1].step(1)  # prompts of other lengths
    asked = [lane.asked for lane in lanes]
    with monkeypatch.context() as patched:
        patched.setattr(TokenSampler, "draw", noting)
        decided = learner.decide(asked, np.random.default_rng(0))
    assert len({thought.ids for thought in decided.thoughts}) == 4
    for thought, drawn in zip(decided.thoughts, seen.values(), strict=True):
        assert 0 < len(thought) <= TOKENS and len(thought.log_probs) == len(thought)
        count = len(thought.ids)
        np.testing.assert_allclose(thought.log_probs[:count], drawn[:count], atol=1e-5)
        np.testing.assert_array_equal(thought.reference, thought.log_probs)
    again = learner.decide(asked, np.random.default_rng(0))
    assert [t.ids for t in again.thoughts] == [t.ids for t in decided.thoughts]
    other = learner.decide(asked, np.random.default_rng(1))
    assert [t.ids for t in other.thoughts] != [t.ids for t in decided.thoughts]
    learner.tuned.train()
    answers, words, hidden = learner.weigh(asked, decided.thoughts)
    for row, thought in zip(words, decided.thoughts, strict=True):
        np.testing.assert_allclose(row.detach().numpy(), thought.log_probs, atol=1e-5)
    np.testing.assert_allclose(hidden.detach().numpy(), decided.hidden, atol=1e-5)
    for row, scores in zip(answers, decided.scores, strict=True):
        np.testing.assert_allclose(torch.log_softmax(row.detach(), 0), scores, atol=1e-5)
    assert answers[0].requires_grad and words[0].requires_grad


def test_a_thought_that_was_worth_it_becomes_likelier(learner_of):
    learner = learner_of(entropy=0.0)
    asked = [catch().asked] * 2
    thoughts = learner.decide(asked, np.random.default_rng(0)).thoughts
    before = [thought.log_probs.sum() for thought in thoughts]
    for _ in range(8):
        rows, words, _ = learner._weighed(asked, thoughts)
        noted = tuple(
            dataclasses.replace(thought, log_probs=row, reference=row)
            for thought, row in zip(thoughts, words, strict=True)
        )
        actions = np.array([0, 0])
        chances = np.array([row[0] for row in rows])
        learner.improve(asked, Turns(actions, chances, np.array([1.0, -1.0]), tuple(rows), noted))
    after = [row.sum() for row in learner._weighed(asked, thoughts)[1]]
    assert after[0] > before[0] and after[1] < before[1]
    with learner.first_weights():
        first = learner._weighed(asked, thoughts)[1]
    np.testing.assert_array_equal(first[0], thoughts[0].log_probs)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(run, monkeypatch):
    whole, words = run
    play = ReinforcementTrainer._play

    def stopping(trainer, rng):
        if trainer.iteration == 2:
            trainer.run.stop.set()
        return play(trainer, rng)

    with monkeypatch.context() as patched:
        patched.setattr(ReinforcementTrainer, "_play", stopping)
        assert rl(whole.parent, "stopped", *words) == 130
    assert rl(whole.parent, "stopped", *words) == 0
    assert helpers.digests(whole.parent / "stopped") == helpers.digests(whole)


def test_a_run_says_what_it_learned_with(run, capsys):
    whole, _ = run
    results = json.loads((whole / "results.json").read_text())
    assert results["reasoning_tokens"] == TOKENS and results["state_reward"] == 0.5
    assert all(abs(total) <= 1 for total in results["returns"]["Catch"])
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert all(line["state_reward"] == 0.5 and 0 <= line["stated"] <= 1 for line in lines)
    assert all(1 <= line["thought_tokens"] <= TOKENS for line in lines)
    assert lines[-1]["thought_kl"] >= 0 and "thought_policy" in lines[-1]
    card = json.loads((whole / "adapter" / "atari_vlm.json").read_text())
    assert card["answer_form"] == "thoughts" and card["thought_tokens"] == TOKENS
    assert "a state reward of 0.5" in card["source"]


def test_an_adapter_plays_as_it_was_trained_and_in_no_other_form(run, bases, learner_of):
    adapter = run[0] / "adapter"
    vlm = load_vlm("qwen-vl", model=bases("qwen2-vl"), adapter=adapter, device="cpu")
    agent = VLMAgent(vlm, prompt_type="cot")
    assert agent.answer == "thoughts"
    with pytest.raises(NotSupportedError, match="can be thoughts, not scores"):
        VLMAgent(vlm, options=VLMAgentOptions(answer="scores"))
    env = make_env({"game_name": "Catch"})
    observation, _ = env.reset(seed=0)
    agent.reset(seed=0)
    decision = agent.act(observation)
    asked = catch().asked
    reply = vlm.complete(asked.messages, sampling=Sampling(max_tokens=400))
    assert reply.text == decision.replies[0].text
    assert reply.usage.output_tokens <= TOKENS
    vlm.close()
    learner = learner_of()
    load_weights(read_adapter(adapter), learner.tuned)
    scores = learner.policy([asked])[0][0]
    played = list(decision.details["probabilities"].values())
    np.testing.assert_allclose(np.exp(scores), played, atol=1e-5)
    assert decision.action == scores.argmax()


@pytest.mark.parametrize("tokens", [0, -1, 10**9])
def test_a_card_with_thoughts_of_no_length_is_refused(tokens, run, bases, tmp_path):
    folder = helpers.copy_of(run[0] / "adapter", tmp_path / "adapter")
    card = json.loads((folder / "atari_vlm.json").read_text())
    (folder / "atari_vlm.json").write_text(json.dumps({**card, "thought_tokens": tokens}))
    with pytest.raises(AtariVLMError, match=r"adapter.*thoughts of"):
        load_vlm("qwen-vl", model=bases("qwen2-vl"), adapter=folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prompt-type", "basic"), "asks for no thoughts"),
        (("--no-reasoning", "--state-reward", "1"), "needs --reasoning"),
        (("--reasoning-tokens", "0"), "reasoning_tokens"),
        (("--state-reward", "-1"), "state_reward"),
        (("--state-reward", "nan"), "state_reward"),
        (("--state-reward", "1", "--game", "Kaboom-v5"), "not of Kaboom"),
    ],
)
def test_bad_input_is_one_sentence(words, said, bases, tmp_path, capsys):
    given = ("--base", "qwen-vl", "--model", bases("qwen2-vl"), *words)
    assert rl(tmp_path, "bad", *given) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in " ".join(lines) and not (tmp_path / "bad").exists()


class Telling(ThinkingLearner):
    """Says what it is told to, lane by lane."""

    def think(self, asked, rng=None):
        encoder = self.base.encoder
        ids = [encoder.choice_ids(text) for text in self.told]
        return [self._thought(d, [*row, False]) for d, row in zip(asked, ids, strict=True)]


def test_a_turn_earns_the_state_reward_where_its_thought_is_right_and_nowhere_else(learner_of):
    learner = learner_of(Telling, ThinkingConfig(TOKENS, 0.25), envs=4, steps=1)
    lanes = [catch(seed) for seed in range(4)]
    for lane in lanes:
        lane.read_states(state_reader(lane.env, "Catch"))
    columns = [int(lane.env.unwrapped.state.ball_column[0]) for lane in lanes]
    told = ["ball {} 1", "I guess: Ball: x {}, y 1.", "ball {} 0", "it is somewhere at {}"]
    learner.told = [text.format(column) for text, column in zip(told, columns, strict=True)]
    played = play_turns(lanes, learner, np.random.default_rng(0), lambda: None)
    assert played.stated == [True, True, False, False]
    np.testing.assert_array_equal(played.rewards[0], [0.25, 0.25, 0, 0])  # Catch gives 0 at first
    for lane in lanes:
        lane.close()


def test_statements_are_judged_by_the_emulators_memory():
    env = make_env({"game_name": "Pong"})
    lane = Lane(env, "cot", VLMAgentOptions(answer="thoughts"), lambda n: n, 500)
    reader = state_reader(env, "Pong-v5")
    lane.read_states(reader)
    memory, right, still = env.unwrapped.ale.getRAM, 0, 0
    for step in range(60):
        before = reader.read()
        lane.step(step % 2)  # NOOP and FIRE: the own paddle stays
        ram = memory()
        ball = int(ram[49]) - 48, int(ram[54]) - 12  # the middle of 2 x 4 pixels
        near, far = (ball[0] + 7, ball[1] - 8), (ball[0] + 9, ball[1])
        if "ball" in reader.read() and reader.read()["ball"] == ball != before.get("ball"):
            right += 1
            assert lane.was_stated("The ball: x {}, y {}".format(*ball))
            assert lane.was_stated("I see the ball at ({}, {}) soon".format(*near))
            assert not lane.was_stated("ball {} {}".format(*far))
            assert not lane.was_stated("ball {} {}; ball {} {}".format(*far, *ball))
            assert not lane.was_stated("ball" if step % 2 else "football {} {}".format(*ball))
        own = reader.read()["your paddle"]
        if own == before["your paddle"]:
            still += 1
            assert not lane.was_stated("your paddle {} {}".format(*own))
    assert right > 20 and still > 20
    lane.close()

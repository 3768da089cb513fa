"""Embeddings and the language head: against plain cross-entropy, a grammar, and a language model trained by transformers."""

import math

import pytest
import torch
from torch.nn import functional

from atari_vlm.errors import MismatchError
from atari_vlm.world_models.dreamer.cores import make_core
from atari_vlm.world_models.dreamer.cores.pretrained import embeddings_of
from atari_vlm.world_models.dreamer.language import LanguageHead, TokenEmbedding, WordTokenizer
from atari_vlm.world_models.dreamer.language import networks as module


def test_silence_is_a_vector_of_zeros():
    table = TokenEmbedding(5, 3, pad=2)
    ids = torch.tensor([[1, 2, 4], [2, 2, 2]])
    vectors = table(ids)
    assert vectors.shape == (2, 3, 3) and not vectors[ids == 2].any() and vectors[ids != 2].all()
    assert torch.allclose(table.pooled(ids)[0], (vectors[0, 0] + vectors[0, 2]) / 2)
    assert not table.pooled(ids)[1].any()


def test_a_language_models_table():
    weights = torch.randn(8, 3)
    assert torch.equal(TokenEmbedding(6, 3, 0, weights).table.weight, weights[:6])
    own_silence = TokenEmbedding(9, 3, 8, weights)
    assert torch.equal(own_silence.table.weight[:8], weights)
    for size, width, pad in ((9, 3, 0), (10, 3, 9), (6, 4, 0)):
        with pytest.raises(MismatchError, match=r"model's embeddings are \(8, 3\)"):
            TokenEmbedding(size, width, pad, weights)


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_is_the_cross_entropy_however_it_is_cut(monkeypatch, tied):
    torch.manual_seed(0)
    head = LanguageHead(TokenEmbedding(11, 4, 0), 6, 8, 2, tied=tied)
    torch.nn.init.normal_(head.out.weight)
    features, ids = torch.randn(3, 5, 6, requires_grad=True), torch.randint(11, (3, 5, 2))
    logits = head(features)
    assert logits.shape == (3, 5, 2, 11)
    plain = functional.cross_entropy(logits.flatten(0, -2), ids.flatten(), reduction="none")
    whole = head.loss(features, ids)
    assert torch.allclose(whole, plain.view(3, 5, 2).sum(-1), atol=1e-6)
    wanted = torch.autograd.grad(whole.sum(), [features, *head.parameters()])
    monkeypatch.setattr(module, "_MOST_LOGITS", 44)  # four positions at a time
    cut = head.loss(features, ids)
    assert torch.allclose(cut, whole, atol=1e-6)
    found = torch.autograd.grad(cut.sum(), [features, *head.parameters()])
    for first, second in zip(wanted, found, strict=True):
        assert torch.allclose(first, second, atol=1e-5)


def test_fifty_thousand_words_take_sixteen_megabytes():
    """The logits of 100 positions would be 20 MB: no more than 16 are there at once, none is kept for the way back."""
    head = LanguageHead(TokenEmbedding(50_280, 4, 0), 6, 8, 1)
    features, ids = torch.randn(100, 6), torch.randint(50_280, (100, 1))
    made, kept = [], []
    head.out.register_forward_hook(lambda layer, given, logits: made.append(logits.numel()))

    def keep(tensor):
        kept.append(tensor.numel() if tensor.data_ptr() != head.out.weight.data_ptr() else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = head.loss(features, ids).sum()
    assert sum(made) == 100 * 50_280 and max(made) <= 1 << 22 and sum(kept) < 1 << 18
    loss.backward()
    assert sum(made) == 2 * 100 * 50_280 and max(made) <= 1 << 22  # again, a few at a time
    made.clear()
    assert head.sample(features, None).shape == (100, 1)
    assert sum(made) == 100 * 50_280 and max(made) <= 1 << 22


def test_draws_follow_the_logits(monkeypatch):
    torch.manual_seed(0)
    head = LanguageHead(TokenEmbedding(4, 3, 0), 2, 8, 1)
    torch.nn.init.normal_(head.out.weight, std=2)
    features = torch.randn(1, 2).expand(20_000, 2)
    generator = torch.Generator().manual_seed(0)
    monkeypatch.setattr(module, "_MOST_LOGITS", 4 * 3_000)
    drawn = head.sample(features, generator)
    shares = torch.bincount(drawn.flatten(), minlength=4) / 20_000
    assert drawn.shape == (20_000, 1)
    assert torch.allclose(shares, head(features[0])[0].softmax(-1), atol=0.02)
    assert (head.sample(features, None, 0) == head(features[0]).argmax()).all()


SENTENCES = (
    "the red door pays",
    "the blue door pays nothing",
    "a door is a door",
    "nothing is red",
)


def streams(rows, length, generator):
    """Sentences of a small grammar one after the other, ids ``(rows, length)``."""
    tokenizer = WordTokenizer.of([*SENTENCES, "."])
    drawn = torch.randint(len(SENTENCES), (rows, length), generator=generator)
    texts = [" . ".join(SENTENCES[i] for i in row) + " ." for row in drawn.tolist()]
    return tokenizer, torch.tensor([tokenizer.encode(text)[:length] for text in texts])


def unigram_entropy(ids):
    shares = torch.bincount(ids.flatten()).float() / ids.numel()
    return -(shares[shares > 0] * shares[shares > 0].log()).sum().item()


@pytest.mark.parametrize(("kind", "sizes"), [("gru", {}), ("mamba", {"layers": 1})])
def test_a_grammar_is_learned_below_its_unigram_entropy(kind, sizes):
    """The best possible is 0.33 nats a token: only the first word of a sentence, and what follows a door, is open."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    tokenizer, _ = streams(1, 2, generator)
    table = TokenEmbedding(tokenizer.size, 16, tokenizer.pad)
    core, head = make_core(kind, (16,), 16, **sizes), LanguageHead(table, 16, 32, 1)
    parameters = {*table.parameters(), *core.parameters(), *head.parameters()}
    optimizer = torch.optim.Adam(parameters, lr=1e-2)

    def loss(ids):
        never = torch.zeros(ids.shape, dtype=torch.bool)[:, 1:]
        y, _ = core.scan(table(ids[:, :-1, None])[:, :, 0], core.init(len(ids)), never)
        return head.loss(y, ids[:, 1:, None]).mean()

    for _ in range(60):
        optimizer.zero_grad()
        loss(streams(16, 24, generator)[1]).backward()
        optimizer.step()
    with torch.no_grad():
        _, held_out = streams(32, 24, torch.Generator().manual_seed(2))
        assert loss(held_out) < 0.5 * unigram_entropy(held_out)


@pytest.mark.filterwarnings("ignore")
def test_a_language_model_of_transformers_speaks_at_update_0(tmp_path):
    """Trained there on local text, loaded here: its loss on that text before any update is its own, far below scratch's."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    tokenizer, _ = streams(1, 2, generator)
    config = transformers.MambaConfig(
        hidden_size=16, num_hidden_layers=1, vocab_size=16, state_size=4, use_cache=False
    )
    model = transformers.MambaForCausalLM(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(50):
        optimizer.zero_grad()
        _, ids = streams(8, 16, generator)
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    _, ids = streams(16, 24, torch.Generator().manual_seed(2))
    losses = {}
    for name, weights in (("pretrained", tmp_path), ("scratch", None)):
        table = TokenEmbedding(
            tokenizer.size, 16, tokenizer.pad, None if weights is None else embeddings_of(tmp_path)
        )
        sizes = (
            {"from_pretrained": weights} if weights else {"layers": 1, "state_size": 4, "width": 16}
        )
        core = make_core("mamba", (7, 2, 16), 16, **sizes)  # z, action, language
        head = LanguageHead(table, 7 + 16, 8, 1, beside_core=True)
        said = table(ids[:, :-1, None])[:, :, 0]
        x = torch.cat([torch.randn(16, 23, 9), said], -1)
        y, _ = core.scan(x, core.init(16), torch.zeros(16, 23, dtype=torch.bool))
        features = torch.cat([torch.randn(16, 23, 7), y], -1)
        losses[name] = head.loss(features, ids[:, 1:, None], y).mean().item()
    with torch.no_grad():
        own = functional.cross_entropy(
            model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
        )
    assert losses["pretrained"] < 1.0 < math.log(len(tokenizer.words)) - 0.5 < losses["scratch"]
    assert losses["pretrained"] == pytest.approx(own.item(), abs=0.05)
